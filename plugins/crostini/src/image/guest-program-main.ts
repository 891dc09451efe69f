// Writes the programs of guests to the folder that is named in the arguments: what `npm pack` does after it has compiled the
// rest.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUEST_FILES } from './guest-bundle.ts';
import { GUEST_PROGRAMS, guestProgram } from './guest-program.ts';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new TypeError('no folder was named');
mkdirSync(folder, { recursive: true });
for (const name of GUEST_PROGRAMS) writeFileSync(join(folder, GUEST_FILES[name]), (await guestProgram(name)).code);
