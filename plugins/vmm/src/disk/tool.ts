// What `runtime vm disk` does to images that are not in use: create, resize, info, check. convert.ts has the rest.

import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync, unlinkSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { blockDeviceSize } from '@runtime/sdk/linux';
import { errors } from '../errors.ts';
import { lock, openChain } from './chain.ts';
import { imageFile } from './image-file.ts';
import type { DiskFormat } from './layers.ts';
import { checkImage, repairImage } from './qcow2/check.ts';
import { createQcow2 } from './qcow2/create.ts';
import { INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY, readHeader } from './qcow2/header.ts';
import { SyncDisk } from './sync-disk.ts';

const SECTOR = 512;

export interface CreateDiskOptions {
  readonly path: string;
  readonly format: DiskFormat;
  /** Bytes, a multiple of 512; left out with a backing file: its size. */
  readonly size?: number;
  /** qcow2: bytes, a power of two from 512 to 2 MiB; default 64 KiB. */
  readonly clusterSize?: number;
  /** qcow2: what the image is laid over. It has to stay as it is from now on. */
  readonly backing?: { readonly path: string; readonly format: DiskFormat };
}

/** Takes no space but for what describes it. @throws VMM_ERR_DISK_OPEN when there is such a file, VMM_ERR_DISK_… */
export function createDisk(options: CreateDiskOptions): void {
  const { path, format, backing } = options;
  const below = backing === undefined ? undefined : diskInfo(backing.path, { format: backing.format });
  const size = options.size ?? below?.virtualSize;
  if (size === undefined)
    throw errors.VMM_ERR_DISK_SIZE({
      details: { why: 'none was given', hint: 'Give one, or a backing file to take it from.' },
    });
  if (!Number.isSafeInteger(size) || size <= 0 || size % SECTOR !== 0)
    throw errors.VMM_ERR_DISK_SIZE({
      details: { why: `a disk cannot have ${size} bytes`, hint: 'Use a multiple of 512.' },
    });
  if (format === 'raw' && backing !== undefined)
    throw errors.VMM_ERR_DISK_BACKING({
      details: { image: path, why: 'a raw image has none', hint: 'Make a qcow2 image: --format qcow2.' },
    });
  withNewFile(path, (fd) => {
    if (format === 'raw') ftruncateSync(fd, size);
    else
      createQcow2(imageFile(fd, path), {
        size,
        ...(options.clusterSize === undefined ? {} : { clusterSize: options.clusterSize }),
        ...(backing === undefined ? {} : { backing: { file: seenFrom(path, backing.path), format: backing.format } }),
      });
  });
}

/** A backing file is found from the folder of the image, wherever whoever makes it stands. */
function seenFrom(image: string, backing: string): string {
  if (isAbsolute(backing)) return backing;
  const path = relative(dirname(resolve(image)), resolve(backing));
  // QEMU takes what is before a colon for the name of a protocol.
  return /^[^/]*:/.test(path) ? `./${path}` : path;
}

/** Calls `fill` with a file that was not there; it is removed again if that throws. */
export function withNewFile<T>(path: string, fill: (fd: number) => T): T {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o644);
  } catch (e) {
    const { code, message } = e as NodeJS.ErrnoException;
    const [why, hint] =
      code === 'EEXIST'
        ? ['it exists already', 'Use another name, or remove it if nobody needs it.']
        : [message, 'Check the folder: its path, its owner and the space left.'];
    throw errors.VMM_ERR_DISK_OPEN({ details: { image: path, verb: 'made', why, hint }, cause: e });
  }
  try {
    const result = fill(fd);
    fsyncSync(fd);
    return result;
  } catch (e) {
    unlinkSync(path);
    throw e;
  } finally {
    closeSync(fd);
  }
}

export interface ResizeDiskOptions {
  readonly format: DiskFormat;
  /** Bytes, a multiple of 512. */
  readonly size: number;
  /** What lies beyond the new end may be lost; without it an image is not made smaller. */
  readonly shrink?: boolean;
}

/** The guest's partitions and file systems stay as they are. @throws VMM_ERR_DISK_… */
export async function resizeDisk(path: string, options: ResizeDiskOptions): Promise<void> {
  const { format, size } = options;
  const refuse = (why: string) => errors.VMM_ERR_DISK_RESIZE({ details: { capacity: size, why } });
  if (!Number.isSafeInteger(size) || size <= 0 || size % SECTOR !== 0) throw refuse(`it cannot have ${size} bytes`);
  using chain = openChain(path, { format, readonly: false });
  const fd = chain.entries[0]?.fd as number;
  if (format === 'raw') {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw refuse('a block device has the size that it has');
    if (size < stats.size && options.shrink !== true)
      throw refuse('it would become smaller, and lose what is beyond its end');
    ftruncateSync(fd, size);
    fsyncSync(fd);
    return;
  }
  using disk = new SyncDisk(chain.entries, { readonly: false });
  if (size < disk.size) {
    if (options.shrink !== true) throw refuse('it would become smaller, and lose what is beyond its end');
    disk.shrink(size);
  } else await disk.resize(size);
  disk.settle();
}

export interface DiskInfo {
  readonly path: string;
  readonly format: DiskFormat;
  /** Bytes that a guest sees. */
  readonly virtualSize: number;
  /** Bytes that the file takes on its file system. */
  readonly diskSize: number;
  /** What follows is of qcow2 images. */
  readonly version?: 2 | 3;
  readonly clusterSize?: number;
  readonly refcountBits?: number;
  readonly compression?: 'zlib' | 'zstd';
  readonly snapshots?: number;
  /** It was not closed properly, and is checked when it is next written to. */
  readonly dirty?: boolean;
  readonly corrupt?: boolean;
  readonly backing?: DiskInfo;
}

/** Can be asked while the image is in use. @throws VMM_ERR_DISK_… */
export function diskInfo(path: string, options: { readonly format: DiskFormat }): DiskInfo {
  using chain = openChain(path, { format: options.format, readonly: true, lock: false });
  let below: DiskInfo | undefined;
  for (let index = chain.entries.length - 1; index >= 0; index -= 1) {
    const { fd, format, name } = chain.entries[index] as (typeof chain.entries)[number];
    const header = chain.headers[index];
    const stats = fstatSync(fd);
    const fileSize = stats.isBlockDevice() ? blockDeviceSize(fd) : stats.size;
    const info: DiskInfo = {
      path: name,
      format,
      virtualSize: header?.size ?? fileSize,
      diskSize: stats.blocks * 512,
      ...(header === undefined
        ? {}
        : {
            version: header.version,
            clusterSize: 2 ** header.clusterBits,
            refcountBits: 2 ** header.refcountOrder,
            compression: header.compression,
            snapshots: header.snapshots,
            dirty: (header.incompatible & INCOMPATIBLE_DIRTY) !== 0n,
            corrupt: (header.incompatible & INCOMPATIBLE_CORRUPT) !== 0n,
          }),
      ...(below === undefined ? {} : { backing: below }),
    };
    below = info;
  }
  return below as DiskInfo;
}

export interface DiskCheck {
  /** Clusters that take space and are not used. */
  readonly leaks: number;
  /** Clusters that could be handed out although they are in use, and entries that point to nowhere. */
  readonly corruptions: number;
  /** Clusters with data of the guest. */
  readonly allocated: number;
  readonly repaired: boolean;
}

/** Of a qcow2 image that is not in use. @throws VMM_ERR_DISK_… */
export function checkDisk(path: string, options: { readonly repair?: boolean } = {}): DiskCheck {
  const { repair = false } = options;
  const fd = openForCheck(path, repair);
  try {
    lock(fd, path, repair);
    const file = imageFile(fd, path);
    const { leaks, corruptions, allocated } = checkImage(file, readHeader(file));
    const repaired = repair && leaks + corruptions > 0;
    if (repaired) repairImage(file);
    return { leaks, corruptions, allocated, repaired };
  } finally {
    closeSync(fd);
  }
}

function openForCheck(path: string, writable: boolean): number {
  try {
    return openSync(path, (writable ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK);
  } catch (e) {
    throw errors.VMM_ERR_DISK_OPEN({
      details: { image: path, verb: 'opened', why: (e as Error).message, hint: 'Check its path, owner and mode.' },
      cause: e,
    });
  }
}
