// Copies a disk into a new image of either format. What reads as zeroes takes no space in the copy, whether the source
// says so or not.

import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { blockDeviceSize, seekData, seekHole } from '@runtime/sdk/linux';
import { errors } from '../errors.ts';
import { openChain } from './chain.ts';
import { imageFile } from './image-file.ts';
import { type ChainEntry, type DiskFormat, locate, newExtent, openLayers, ZEROES } from './layers.ts';
import { createQcow2, DEFAULT_CLUSTER_SIZE } from './qcow2/create.ts';
import { SyncDisk } from './sync-disk.ts';
import { withNewFile } from './tool.ts';

const SECTOR = 512;
/** Bytes moved at a time, and the pieces in which zeroes are looked for. */
const STEP = 2 * 2 ** 20;
const PIECE = 64 * 1024;

export interface ConvertDiskOptions {
  readonly from: {
    readonly path: string;
    readonly format: DiskFormat;
    /** Whether it is kept from being changed meanwhile; default true. */
    readonly lock?: boolean;
    /** Whether it may lie on other files; default true. */
    readonly backing?: boolean;
    /** Refuse one that is larger, in bytes. */
    readonly maxSize?: number;
  };
  readonly to: {
    readonly path: string;
    readonly format: DiskFormat;
    /** qcow2: bytes, a power of two from 512 to 2 MiB; default 64 KiB. */
    readonly clusterSize?: number;
  };
  /** Told from time to time, in bytes. */
  progress?(done: number, total: number): void;
}

interface Source extends Disposable {
  readonly size: number;
  /** The first byte from `offset` on that may not be zero, and up to where; `undefined`: there is none. */
  data(offset: number): { readonly from: number; readonly to: number } | undefined;
  read(target: Uint8Array, offset: number): void;
}

interface Target {
  write(source: Uint8Array, offset: number): void;
  finish(): void;
}

/** The source is not changed, and may not be in use by somebody who changes it. @throws VMM_ERR_DISK_… */
export function convertDisk(options: ConvertDiskOptions): void {
  const { from, to } = options;
  const { format, lock = true, backing = true, maxSize = Number.MAX_SAFE_INTEGER } = from;
  using chain = openChain(from.path, { format, lock, backing, readonly: true });
  using source = from.format === 'raw' ? rawSource(chain.entries[0] as ChainEntry) : qcow2Source(chain.entries);
  const size = Math.ceil(source.size / SECTOR) * SECTOR;
  if (size > maxSize)
    throw errors.VMM_ERR_DISK_SIZE({
      details: { why: `${from.path} has ${size} bytes`, hint: `At most ${maxSize} are taken here.` },
    });
  withNewFile(to.path, (fd) => {
    if (to.format === 'raw') {
      ftruncateSync(fd, size);
      copy(source, rawTarget(fd), size, options);
      return;
    }
    createQcow2(imageFile(fd, to.path), { size, clusterSize: to.clusterSize ?? DEFAULT_CLUSTER_SIZE });
    using disk = new SyncDisk([{ fd, format: 'qcow2', name: to.path }], { readonly: false });
    copy(source, { write: (bytes, offset) => disk.write(bytes, offset), finish: () => disk.settle() }, size, options);
  });
}

function copy(source: Source, target: Target, size: number, { progress }: ConvertDiskOptions): void {
  const buffer = new Uint8Array(STEP);
  const zeroes = new Uint8Array(PIECE);
  let at = 0;
  for (;;) {
    const extent = at < source.size ? source.data(at) : undefined;
    if (extent === undefined) break;
    // Whole pieces, so that no cluster of the target is written twice.
    at = Math.max(at, extent.from - (extent.from % PIECE));
    const length = Math.min(STEP - (at % STEP), size - at, Math.ceil((extent.to - at) / PIECE) * PIECE);
    const bytes = buffer.subarray(0, length);
    bytes.fill(0);
    source.read(bytes.subarray(0, Math.min(length, source.size - at)), at);
    let from = 0;
    for (let piece = 0; piece < length; piece += PIECE) {
      const end = Math.min(length, piece + PIECE);
      if (Buffer.compare(bytes.subarray(piece, end), zeroes.subarray(0, end - piece)) !== 0) continue;
      if (from < piece) target.write(bytes.subarray(from, piece), at + from);
      from = end;
    }
    if (from < length) target.write(bytes.subarray(from, length), at + from);
    at += length;
    progress?.(at, size);
  }
  target.finish();
  progress?.(size, size);
}

function rawSource({ fd }: ChainEntry): Source {
  const stats = fstatSync(fd);
  const size = stats.isBlockDevice() ? blockDeviceSize(fd) : stats.size;
  return {
    size,
    data(offset) {
      if (!stats.isFile()) return { from: offset, to: size };
      const from = seekData(fd, offset);
      return from === undefined ? undefined : { from, to: seekHole(fd, from) };
    },
    read(target, offset) {
      let done = 0;
      while (done < target.length) {
        const bytes = readSync(fd, target, done, target.length - done, offset + done);
        if (bytes === 0) break;
        done += bytes;
      }
    },
    [Symbol.dispose]() {},
  };
}

function qcow2Source(chain: readonly ChainEntry[]): Source {
  const disk = new SyncDisk(chain, { readonly: true });
  const layers = openLayers(chain, { writable: false, warn: () => {} });
  const extent = newExtent();
  const { size } = disk;
  return {
    size,
    data(offset) {
      for (let at = offset; at < size; at += extent.length) {
        locate(layers, 0, at, size - at, extent);
        if (extent.kind !== ZEROES) return { from: at, to: at + extent.length };
      }
      return undefined;
    },
    read: (target, offset) => disk.read(target, offset),
    [Symbol.dispose]: () => disk[Symbol.dispose](),
  };
}

function rawTarget(fd: number): Target {
  return {
    write(source, offset) {
      let done = 0;
      while (done < source.length) done += writeSync(fd, source, done, source.length - done, offset + done);
    },
    finish() {},
  };
}
