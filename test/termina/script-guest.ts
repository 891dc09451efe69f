// A program for Termina's image that stands in for maitred: it runs a script, and turns the machine off.

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestBundle } from '../../plugins/crostini/src/image/termina-image.ts';

/** Last of what it prints. */
export const SCRIPT_DONE = 'script-guest: done';

const PROGRAM = (script: string): string => `
const { spawnSync } = require('node:child_process');
const sh = (text) => spawnSync('/bin/bash', ['-c', text], { stdio: 'inherit' });
console.log('script-guest: node', process.version, 'is process', process.pid);
sh('mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /tmp');
sh(${JSON.stringify(script)});
console.log(${JSON.stringify(SCRIPT_DONE)});
// So that whoever reads the console while the machine runs sees all of it.
sh('sync; sleep 1; echo o > /proc/sysrq-trigger');
setTimeout(() => {}, 60_000);
`;

/** For `ensureTermina`. The script is one for bash, with /proc, /sys, /run and /tmp mounted. */
export function scriptGuest(script: string): GuestBundle {
  const program = PROGRAM(script);
  return {
    inputs: async () => createHash('sha256').update(program).digest('hex'),
    build: async (folder) => {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'guest.cjs'), program);
    },
  };
}
