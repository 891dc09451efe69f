// The program of guests, compiled into one file. A package that is published carries it in the place of its sources.

import { existsSync, readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { compileProgram } from '@runtime/sdk/compile';
import { GUEST_FILES, PACKED_PROGRAM } from './guest-bundle.ts';

const MAIN = join(import.meta.dirname, '../../guest/src/main.ts');

export interface GuestProgram {
  readonly code: string;
  /** Paths of the modules in it; none when it came with the package. */
  readonly sources: readonly string[];
}

/** @throws Error with what the compiler said */
export async function guestProgram(): Promise<GuestProgram> {
  if (PACKED_PROGRAM !== undefined) return { code: readFileSync(PACKED_PROGRAM, 'latin1'), sources: [] };
  if (!existsSync(MAIN)) throw new Error(`this package carries no program for guests: neither compiled nor as ${MAIN}`);
  const [file, ...more] = await compileProgram({
    input: MAIN,
    plugin: { name: 'runtime:guest-places', enforce: 'pre', transform },
  });
  if (file === undefined || more.length > 0) throw new TypeError('the program is not one file');
  return { code: wrapped(file.code), sources: file.sources };
}

/** What a module finds by its own place, it finds beside the program; of koffi, only the native half is used. */
function transform(code: string, id: string): string | null {
  if (!isAbsolute(id) || !code.includes('import.meta.')) return null;
  return code
    .replaceAll(/import\.meta\.(?:url|filename)/g, '__filename')
    .replaceAll('import.meta.dirname', '__dirname')
    .replaceAll("('koffi')", `('./${GUEST_FILES.native}')`);
}

/** As Node wraps CommonJS. */
function wrapped(code: string): string {
  return `(function(exports,require,module,__filename,__dirname){${code}\n})`;
}
