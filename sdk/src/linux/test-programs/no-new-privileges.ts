import { readFileSync } from 'node:fs';
import { setNoNewPrivileges } from '../index.ts';

setNoNewPrivileges();
process.stdout.write(readFileSync('/proc/thread-self/status', 'latin1'));
