// The files that a policy is made of, within bounds.

import { readFileSync, statSync } from 'node:fs';
import { errors } from '../errors.ts';
import type { Position } from './policy.ts';

/** What one policy may be, with all that it includes. */
export const LIMITS = {
  fileBytes: 2 ** 20,
  files: 256,
  depth: 10,
  lines: 50_000,
  atoms: 20_000,
  atomsOfSyscall: 1_000,
} as const;

export interface PathMapping {
  /** A folder that policies name, `/usr/share/policy/crosvm`. */
  readonly from: string;
  readonly to: string;
}

/** What has been read for one policy. */
export class Budget {
  #files = 0;
  #lines = 0;
  #atoms = 0;

  /** @throws SANDBOX_ERR_POLICY_FILE, SANDBOX_ERR_POLICY */
  read(file: string, at?: Position): string {
    const refuse = (why: string) =>
      at === undefined
        ? errors.SANDBOX_ERR_POLICY_FILE({ details: { file, why } })
        : policyError(at, `${file} cannot be included: ${why}`);
    if (++this.#files > LIMITS.files) throw refuse(`a policy may have ${LIMITS.files} files`);
    let bytes: Buffer;
    try {
      const stat = statSync(file);
      // A pipe or a device might never end.
      if (!stat.isFile()) throw refuse('it is no file');
      if (stat.size > LIMITS.fileBytes) throw refuse(`it has ${stat.size} bytes, of ${LIMITS.fileBytes} allowed`);
      bytes = readFileSync(file);
    } catch (e) {
      throw e instanceof Error && 'errno' in e ? refuse(e.message) : e;
    }
    // It may have grown since.
    if (bytes.length > LIMITS.fileBytes) throw refuse(`it has over ${LIMITS.fileBytes} bytes`);
    const text = bytes.toString('utf8');
    if (text.includes('\0')) throw refuse('it has a NUL byte, and is no text');
    return text;
  }

  line(at: Position): void {
    if (++this.#lines > LIMITS.lines) throw policyError(at, `a policy may have ${LIMITS.lines} lines in all`);
  }

  atom(at: Position): void {
    if (++this.#atoms > LIMITS.atoms) throw policyError(at, `a policy may have ${LIMITS.atoms} comparisons in all`);
  }
}

/** @param suggestion from didYouMean() */
export function policyError({ file, line, column }: Position, why: string, suggestion = ''): Error {
  return errors.SANDBOX_ERR_POLICY({ details: { file, line, column, why, suggestion } });
}

export function mapPath(path: string, mappings: readonly PathMapping[]): string {
  for (const { from, to } of mappings) {
    const folder = from.replace(/\/+$/, '');
    if (path === folder || path.startsWith(`${folder}/`)) return to + path.slice(folder.length);
  }
  return path;
}
