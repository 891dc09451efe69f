// Locks itself down as its environment says, and tells what it can still open: argv.

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { beginLockdown, finishLockdown } from '../index.ts';

beginLockdown();
finishLockdown();
const code = (e: unknown) => (e as NodeJS.ErrnoException).code ?? String(e);
const told: Record<string, string> = {};
for (const file of process.argv.slice(2)) {
  try {
    readFileSync(file);
    told[file] = 'ok';
  } catch (e) {
    told[file] = code(e);
  }
  told[`pool ${file}`] = await readFile(file).then(() => 'ok', code);
}
told.variable = process.env.RUNTIME_LOCKDOWN ?? 'gone';
process.stdout.write(JSON.stringify(told));
