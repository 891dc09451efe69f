// Writes the program of guests to the file that is named in the arguments: what `npm pack` does after it has compiled the rest.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { guestProgram } from './guest-program.ts';

const [file] = process.argv.slice(2);
if (file === undefined) throw new TypeError('no file was named');
const { code } = await guestProgram();
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, code);
