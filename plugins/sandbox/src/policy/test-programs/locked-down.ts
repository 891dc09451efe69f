// Locks itself down with the filter whose file is its argument, and tells what a few system calls then say.

import { readFileSync } from 'node:fs';
import { installSystemCallFilter, setNoNewPrivileges } from '@runtime/sdk/linux';

function outcome(signal: number): string {
  try {
    process.kill(process.ppid, signal);
    return 'ok';
  } catch (e) {
    return (e as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

const filter = readFileSync(process.argv[2] as string);
// Once before, so that all that is needed is loaded.
const before = outcome(0);
setNoNewPrivileges();
installSystemCallFilter(filter);
const told = { before, after: outcome(0), children: outcome(18), modes: /^Seccomp:\t(.*)$/m.exec(status())?.[1] };
process.stdout.write(`${JSON.stringify(told)}\n`, () => outcome(28));

function status(): string {
  return readFileSync('/proc/self/status', 'latin1');
}
