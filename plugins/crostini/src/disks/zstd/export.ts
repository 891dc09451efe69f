// Writes a raw disk as ChromeOS' container.

import { readSync } from 'node:fs';
import { constants, zstdCompressSync } from 'node:zlib';
import { seekData, seekHole } from '@runtime/sdk/linux';
import { FRAME_BYTES, LEVEL, metadataFrame, SeekTable, type VmType } from './format.ts';

/** Frames read and written at a time. */
const BATCH = 8;
/** For a frame that does not compress, so that it comes in one piece. */
const FRAME_ROOM = FRAME_BYTES + 1024;
/** A run of zeroes is written in pieces of about so many bytes. */
const ZERO_PIECE = 2 ** 20;

export interface ExportOptions {
  readonly type?: VmType | undefined;
  write(bytes: Uint8Array): void;
  /** Bytes of the disk. */
  progress(done: number): void;
}

const compress = (bytes: Uint8Array): Buffer =>
  zstdCompressSync(bytes, { chunkSize: FRAME_ROOM, params: { [constants.ZSTD_c_compressionLevel]: LEVEL } });

/** Holes are not read. What the file loses meanwhile reads as zeroes. @param size of the disk, in bytes */
export function exportZstd(disk: number, size: number, { type, write, progress }: ExportOptions): void {
  const table = new SeekTable();
  const buffer = Buffer.alloc(BATCH * FRAME_BYTES);
  const zeroFrame = compress(buffer.subarray(0, FRAME_BYTES));
  const zeroes = Buffer.concat(Array.from({ length: Math.floor(ZERO_PIECE / zeroFrame.length) }, () => zeroFrame));
  const emit = (bytes: Uint8Array): void => {
    const frame = compress(bytes);
    write(frame);
    table.add(frame.length, bytes.length);
  };
  let at = 0;
  while (at < size) {
    const data = Math.min(size, seekData(disk, at) ?? size);
    // Only whole frames: the one in which the data begins is read.
    for (let left = Math.floor((data - at) / FRAME_BYTES); left > 0; ) {
      const count = Math.min(left, zeroes.length / zeroFrame.length);
      write(zeroes.subarray(0, count * zeroFrame.length));
      table.add(zeroFrame.length, FRAME_BYTES, count);
      at += count * FRAME_BYTES;
      left -= count;
      progress(at);
    }
    const end = data < size ? Math.min(size, Math.ceil(seekHole(disk, data) / FRAME_BYTES) * FRAME_BYTES) : size;
    while (at < end) {
      const bytes = buffer.subarray(0, Math.min(buffer.length, end - at));
      readFully(disk, bytes, at);
      for (let from = 0; from < bytes.length; from += FRAME_BYTES) emit(bytes.subarray(from, from + FRAME_BYTES));
      at += bytes.length;
      progress(at);
    }
  }
  if (type !== undefined) {
    const frame = metadataFrame(type);
    write(frame);
    table.add(frame.length, 0);
  }
  for (const piece of table.encode()) write(piece);
}

function readFully(fd: number, target: Buffer, position: number): void {
  let done = 0;
  while (done < target.length) {
    const bytes = readSync(fd, target, done, target.length - done, position + done);
    if (bytes === 0) break;
    done += bytes;
  }
  target.fill(0, done);
}
