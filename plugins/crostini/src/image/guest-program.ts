// The program of guests, compiled into one file. A package that is published carries it in the place of its sources.

import { existsSync, readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { compileProgram } from '@runtime/sdk/compile';
import { GUEST_FILES, PACKED_FOLDER } from './guest-bundle.ts';

/** Their first modules. */
const PROGRAMS = { program: 'main.ts', containers: 'containers-main.ts' } as const;
const FOLDER = join(import.meta.dirname, '../../guest/src');

export type GuestProgramName = keyof typeof PROGRAMS;
export const GUEST_PROGRAMS = Object.keys(PROGRAMS) as readonly GuestProgramName[];

export interface GuestProgram {
  readonly code: string;
  /** Paths of the modules in it; none when it came with the package. */
  readonly sources: readonly string[];
}

/** @throws Error with what the compiler said */
export async function guestProgram(name: GuestProgramName): Promise<GuestProgram> {
  if (PACKED_FOLDER !== undefined)
    return { code: readFileSync(join(PACKED_FOLDER, GUEST_FILES[name]), 'latin1'), sources: [] };
  const input = join(FOLDER, PROGRAMS[name]);
  if (!existsSync(input))
    throw new Error(`this package carries no program for guests: neither compiled nor as ${input}`);
  const [file, ...more] = await compileProgram({
    input,
    plugin: { name: 'runtime:guest-places', enforce: 'pre', transform },
  });
  if (file === undefined || more.length > 0) throw new TypeError('the program is not one file');
  return { code: name === 'program' ? wrapped(file.code) : file.code, sources: file.sources };
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
