#!/usr/bin/env node
// @ts-check
// `vmc` is `runtime vmc`: for scripts that know it from ChromeOS.

process.argv.splice(2, 0, 'vmc');
await import('./runtime.mjs');
