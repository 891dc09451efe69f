// Starts a shell that leaves a process behind, and prints whose child that becomes.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setChildSubreaper } from '../index.ts';

setChildSubreaper(true);
const orphan = Number(execFileSync('/bin/sh', ['-c', 'sleep 60 >/dev/null 2>&1 & echo $!'], { encoding: 'utf8' }));
const adopted = Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${orphan}/status`, 'latin1'))?.[1]);
process.kill(orphan, 'SIGKILL');
process.stdout.write(JSON.stringify({ self: process.pid, adopted }));
