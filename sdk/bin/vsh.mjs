#!/usr/bin/env node
// @ts-check
// `vsh` is `runtime vsh`: for scripts that know it from ChromeOS.

process.argv.splice(2, 0, 'vsh');
await import('./runtime.mjs');
