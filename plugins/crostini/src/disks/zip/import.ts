// Makes a raw disk of a zip file, which is what older versions of ChromeOS exported.

import { fstatSync, readSync } from 'node:fs';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32, createInflateRaw } from 'node:zlib';
import { errors } from '../../errors.ts';
import { DiskWriter } from '../disk-writer.ts';
import { type ReadAt, readZipEntry, type ZipEntry } from './directory.ts';

const CHUNK = 1024 * 1024;

export interface ZipImportOptions {
  /** What the file in it has to be called. */
  readonly name: string;
  /** Of the disk, in bytes. */
  readonly maxBytes: number;
  /** Bytes of the source that have been read. */
  progress(read: number): void;
}

const refuse = (why: string, cause?: Error): Error =>
  errors.CROSTINI_ERR_DISK_IMAGE({ details: { why }, ...(cause === undefined ? {} : { cause }) });

/**
 * @param source descriptor of a file
 * @param target descriptor of an empty file
 * @returns bytes of the disk, a multiple of 4096
 * @throws CROSTINI_ERR_DISK_IMAGE, CROSTINI_ERR_DISK_SIZE, what reading or writing failed with
 */
export async function importZip(
  source: number,
  target: number,
  { name, maxBytes, progress }: ZipImportOptions,
): Promise<number> {
  const readAt: ReadAt = (position, length) => readWhole(source, position, length);
  const entry = readZipEntry(fstatSync(source).size, readAt);
  if (entry.name !== name)
    throw refuse(`the file in it is called ${JSON.stringify(entry.name.slice(0, 100))}, and not "${name}"`);
  const disk = new DiskWriter(target, Math.min(maxBytes, entry.bytes));
  if (entry.bytes > maxBytes)
    throw errors.CROSTINI_ERR_DISK_SIZE({ details: { bytes: entry.bytes, why: `at most ${maxBytes} are allowed` } });
  let sum = 0;
  try {
    await pipeline(
      Readable.from(chunksOf(entry, readAt, progress)),
      entry.method === 'deflate' ? createInflateRaw({ chunkSize: CHUNK }) : new PassThrough(),
      async (chunks: AsyncIterable<Buffer>) => {
        for await (const chunk of chunks) {
          sum = crc32(chunk, sum);
          disk.write(chunk);
        }
      },
    );
  } catch (e) {
    throw isZlibError(e) ? refuse(e.message, e) : e;
  }
  if (disk.size !== entry.bytes || sum !== entry.crc32) throw refuse('its contents are damaged');
  return disk.finish();
}

function* chunksOf(
  { start, packedBytes }: ZipEntry,
  readAt: ReadAt,
  progress: (read: number) => void,
): Generator<Buffer> {
  for (let at = 0; at < packedBytes; at += CHUNK) {
    yield readAt(start + at, Math.min(CHUNK, packedBytes - at));
    progress(Math.min(at + CHUNK, packedBytes));
  }
}

const isZlibError = (e: unknown): e is Error => /^Z_|^ERR_TRAILING/.test((e as NodeJS.ErrnoException).code ?? '');

function readWhole(fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const read = readSync(fd, bytes, at, length - at, position + at);
    if (read === 0) throw refuse('it ends too early');
    at += read;
  }
  return bytes;
}
