// A file or folder of the host as an archive.

import { constants, type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errors } from '../errors.ts';
import { BLOCK, padding, type TarHeader, TYPES, writeHeader } from './format.ts';

export interface Found {
  readonly source: string;
  readonly header: TarHeader;
}

/** Read and handed on at once. */
const CHUNK = 256 * 1024;

/**
 * What lies at `source`, the folders before what is in them; in the archive it is called `name`. Devices, pipes and sockets
 * are left out. @throws errors of node:fs
 */
export async function survey(source: string, name: string): Promise<readonly Found[]> {
  const status = await lstat(source);
  const type = status.isDirectory()
    ? TYPES.folder
    : status.isSymbolicLink()
      ? TYPES.symlink
      : status.isFile()
        ? TYPES.file
        : undefined;
  if (type === undefined) return [];
  const header: TarHeader = {
    ...{ path: name, type, mode: status.mode & 0o777, mtime: status.mtimeMs / 1000 },
    size: type === TYPES.file ? status.size : 0,
    linkPath: type === TYPES.symlink ? await readlink(source) : '',
  };
  const found: Found[] = [{ source, header }];
  if (type !== TYPES.folder) return found;
  for (const entry of (await readdir(source)).sort()) {
    found.push(...(await survey(join(source, entry), `${name}/${entry}`)));
  }
  return found;
}

/** @throws errors of node:fs, CROSTINI_ERR_COPY for a file that changes meanwhile */
export async function* pack(found: readonly Found[]): AsyncGenerator<Uint8Array, void> {
  for (const { source, header } of found) {
    yield writeHeader(header);
    if (header.type !== TYPES.file || header.size === 0) continue;
    const file = await open(source, constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      yield* content(file, header.size, source);
    } finally {
      await file.close();
    }
    const rest = padding(header.size);
    if (rest > 0) yield Buffer.alloc(rest);
  }
  yield Buffer.alloc(2 * BLOCK);
}

async function* content(file: FileHandle, size: number, source: string): AsyncGenerator<Uint8Array, void> {
  for (let left = size; left > 0; ) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(Math.min(CHUNK, left)));
    if (bytesRead === 0) {
      throw errors.CROSTINI_ERR_COPY({ details: { what: source, why: 'it became shorter meanwhile' } });
    }
    left -= bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
