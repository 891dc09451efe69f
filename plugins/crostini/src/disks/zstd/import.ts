// Reads ChromeOS' container, or anything that zstd has compressed, into a raw disk. A stranger made it: what it becomes is
// counted while it comes, whatever it declares.

import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { errors } from '../../errors.ts';
import { DiskWriter } from '../disk-writer.ts';
import { parseMetadata, type VmType } from './format.ts';
import { FrameReader } from './frames.ts';

const CHUNK = 1024 * 1024;

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
  const disk = new DiskWriter(target, maxBytes);
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
        for await (const chunk of chunks) disk.write(chunk);
      },
    );
  } catch (e) {
    throw isZstdError(e) ? errors.CROSTINI_ERR_DISK_IMAGE({ details: { why: e.message }, cause: e }) : e;
  }
  return { bytes: disk.finish(), type };
}

const isZstdError = (e: unknown): e is Error => /^(ZSTD_|Z_)/.test((e as NodeJS.ErrnoException).code ?? '');
