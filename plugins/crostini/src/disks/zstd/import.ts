// Reads ChromeOS' container, or anything that zstd has compressed, into a raw disk. A stranger made it: what it becomes is
// counted while it comes, whatever it declares.

import { ftruncateSync, writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { errors } from '../../errors.ts';
import { parseMetadata, type VmType } from './format.ts';
import { FrameReader } from './frames.ts';

/** What of a disk is zero in such a piece takes no space. */
const PIECE = 64 * 1024;
const CHUNK = 1024 * 1024;
const ZEROES = Buffer.alloc(PIECE);
const BLOCK = 4096;

export interface ImportOptions {
  /** Of the disk, in bytes. */
  readonly maxBytes: number;
  /** Bytes of the source that have been read. */
  progress(read: number): void;
}

export interface Imported {
  /** A multiple of 4096. */
  readonly bytes: number;
  /** `undefined`: the file does not tell. */
  readonly type: VmType | 'unknown' | undefined;
}

/** @param target descriptor of an empty file @throws CROSTINI_ERR_DISK_IMAGE, CROSTINI_ERR_DISK_SIZE, what reading or writing failed with */
export async function importZstd(
  source: Readable,
  target: number,
  { maxBytes, progress }: ImportOptions,
): Promise<Imported> {
  let type: Imported['type'];
  const frames = new FrameReader((content) => {
    type = parseMetadata(content) ?? type;
  });
  let read = 0;
  let size = 0;
  try {
    await pipeline(
      source,
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          yield* frames.push(chunk);
          read += chunk.length;
          progress(read);
        }
        frames.end();
      },
      createZstdDecompress({ chunkSize: CHUNK }),
      async (chunks: AsyncIterable<Buffer>) => {
        for await (const chunk of chunks) {
          if (size + chunk.length > maxBytes)
            throw errors.CROSTINI_ERR_DISK_SIZE({ details: { bytes: `over ${maxBytes}`, why: 'it is too large' } });
          writeSparse(target, chunk, size);
          size += chunk.length;
        }
      },
    );
  } catch (e) {
    throw isZstdError(e) ? errors.CROSTINI_ERR_DISK_IMAGE({ details: { why: e.message }, cause: e }) : e;
  }
  if (size === 0) throw errors.CROSTINI_ERR_DISK_IMAGE({ details: { why: 'there is nothing in it' } });
  const bytes = Math.ceil(size / BLOCK) * BLOCK;
  ftruncateSync(target, bytes);
  return { bytes, type };
}

const isZstdError = (e: unknown): e is Error => /^(ZSTD_|Z_)/.test((e as NodeJS.ErrnoException).code ?? '');

function writeSparse(fd: number, chunk: Buffer, position: number): void {
  let from = 0;
  const flush = (end: number): void => {
    for (let at = from; at < end; ) at += writeSync(fd, chunk, at, end - at, position + at);
  };
  for (let at = 0; at < chunk.length; at += PIECE) {
    const end = Math.min(chunk.length, at + PIECE);
    if (ZEROES.compare(chunk, at, end, 0, end - at) !== 0) continue;
    flush(at);
    from = end;
  }
  flush(chunk.length);
}
