// Files that jobs write outside of the store, under names of their own until they are finished: what a runtime that was
// killed has left of them is removed when the journal is next opened.

import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { replaceFile } from './files.ts';

const entrySchema = z.strictObject({ files: z.array(z.string().refine(isAbsolute)).max(4) });
const ENTRY = '.json';
/** Characters of four bytes each, so that a whole name has less than 255. */
const MAX_NAME = 40;

export class Journal {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) {
      for (const file of readEntry(join(folder, name))) {
        // Whatever the entry says, nothing but a file of this job is removed.
        if (basename(file).endsWith(suffix(basename(name, ENTRY)))) rmSync(file, { force: true });
      }
      rmSync(join(folder, name), { force: true });
    }
  }

  /** Names beside the given paths, to be written and then moved there. */
  begin(uuid: string, paths: readonly string[]): readonly string[] {
    const files = paths.map((path, index) =>
      join(dirname(path), `.${basename(path).slice(0, MAX_NAME)}.${index}${suffix(uuid)}`),
    );
    const entry = join(this.#folder, uuid + ENTRY);
    replaceFile(entry, `${entry}.new`, JSON.stringify({ files }));
    return files;
  }

  /** What has not been moved is removed. */
  end(uuid: string, files: readonly string[]): void {
    for (const file of files) rmSync(file, { force: true });
    rmSync(join(this.#folder, uuid + ENTRY), { force: true });
  }
}

const suffix = (uuid: string): string => `.${uuid}.partial`;

function readEntry(path: string): readonly string[] {
  try {
    return entrySchema.parse(JSON.parse(readFileSync(path, 'utf8'))).files;
  } catch {
    return [];
  }
}
