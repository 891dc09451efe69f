// Takes on landlock and a filter of system calls, and becomes the program: a job in JSON, then its words.

import { installSystemCallFilter, type LandlockRule, restrictSelf, setNoNewPrivileges } from '@runtime/sdk/linux';

interface Job {
  readonly landlock?: { readonly abi: number; readonly rules: readonly LandlockRule[] };
  readonly filter?: string;
}

/** The program is no file that can be run; there is none. */
const EXIT = { notExecutable: 126, notFound: 127 } as const;

const [, , text = '{}', ...program] = process.argv;
// By compose.ts, in the same breath.
const { landlock, filter } = JSON.parse(text) as Job;
if (landlock !== undefined) restrictSelf({ rules: landlock.rules, atMost: landlock.abi });
if (filter !== undefined) {
  setNoNewPrivileges();
  installSystemCallFilter(Buffer.from(filter, 'base64'));
}
try {
  process.execve?.(program[0] ?? '', program, process.env as Record<string, string>);
} catch (e) {
  process.stderr.write(`${program[0]}: ${(e as Error).message}\n`);
  process.exit((e as NodeJS.ErrnoException).code === 'ENOENT' ? EXIT.notFound : EXIT.notExecutable);
}
