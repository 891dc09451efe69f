// The half of the block device that runs in the runtime: it opens the image, so that the device process needs no path.

import { closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { isLinuxError, lockRange } from '@runtime/sdk/linux';
import { errors } from '../../errors.ts';
import { type BlockOptions, DEFAULTS, type DiskFormat } from './options.ts';

export interface BlockSource extends Partial<Omit<BlockOptions, 'format'>> {
  readonly path: string;
  /** Left out: qcow2 when the name ends so, else raw. */
  readonly format?: DiskFormat;
}

/** What a block device is started with. Disposing closes the descriptors, once the device process has its own. */
export interface OpenedBlock extends Disposable {
  readonly options: BlockOptions;
  readonly fds: Readonly<Record<string, number>>;
}

/** "QFI\xfb", the first bytes of a qcow2 file. */
const QCOW2_MAGIC = 0x5146_49fb;

/** @throws VMM_ERR_DISK_OPEN, VMM_ERR_DISK_IN_USE */
export function openBlock(source: BlockSource): OpenedBlock {
  const { path, format: given, ...settings } = source;
  const format = given ?? formatByName(path);
  const options: BlockOptions = { ...DEFAULTS, ...settings, format };
  checkKind(path, options);
  if (given === undefined && format === 'raw' && startsAsQcow2(path)) {
    throw refuse(path, 'it begins as a qcow2 file does, and nothing says that it is one', [
      'Say what it is: format=qcow2;',
      'or format=raw, if a guest has written those bytes to its disk.',
    ]);
  }
  const disk = open(path, options);
  try {
    lock(disk, path, options);
  } catch (e) {
    closeSync(disk);
    throw e;
  }
  return {
    options,
    fds: { disk },
    [Symbol.dispose]: () => closeSync(disk),
  };
}

const formatByName = (path: string): DiskFormat => (/\.qcow2?$/.test(path) ? 'qcow2' : 'raw');

/** Before it is opened: opening a FIFO would wait for its other end, and a terminal would become ours. */
function checkKind(path: string, { blockSize, format }: BlockOptions): void {
  let stats: ReturnType<typeof statSync>;
  try {
    stats = statSync(path);
  } catch (e) {
    throw unusable(path, e);
  }
  if (stats.isBlockDevice()) return;
  if (!stats.isFile()) throw refuse(path, 'it is neither a file nor a block device', ['Name the file of an image.']);
  if (stats.size === 0) throw refuse(path, 'it is empty', ['Give it a size: runtime vm disk create.']);
  if (format === 'raw' && blockSize > 512 && stats.size % blockSize !== 0) {
    throw refuse(path, `its ${stats.size} bytes are no whole blocks of ${blockSize} bytes`, [
      'Leave out block-size, or make the image larger: runtime vm disk resize.',
    ]);
  }
}

function startsAsQcow2(path: string): boolean {
  const start = Buffer.alloc(4);
  const fd = openOrThrow(path, constants.O_RDONLY);
  try {
    return readSync(fd, start, 0, start.length, 0) === start.length && start.readUInt32BE() === QCOW2_MAGIC;
  } finally {
    closeSync(fd);
  }
}

function open(path: string, { readonly, direct }: BlockOptions): number {
  const access = readonly ? constants.O_RDONLY : constants.O_RDWR;
  return openOrThrow(path, access | (direct ? constants.O_DIRECT : 0));
}

/**
 * The lock belongs to what was opened: the device process has it too, through its descriptor, and it lasts until both have
 * closed theirs. QEMU and its tools look for it before they use an image.
 */
function lock(fd: number, path: string, { readonly }: BlockOptions): void {
  try {
    if (lockRange(fd, readonly ? 'read' : 'write')) return;
  } catch (e) {
    // Some network file systems have no locks; a VM on one is worth more than its protection against oneself.
    if (isLinuxError(e, 'ENOLCK') || isLinuxError(e, 'EOPNOTSUPP') || isLinuxError(e, 'EINVAL')) return;
    throw e;
  }
  throw errors.VMM_ERR_DISK_IN_USE({ details: { image: path } });
}

/** Node adds O_CLOEXEC. */
function openOrThrow(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (e) {
    throw unusable(path, e);
  }
}

const WHY: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  ENOENT: ['there is no such file', 'Check the path, or make the image: runtime vm disk create.'],
  EACCES: ['it may not be opened by this user', 'Change its owner or mode, or give the disk read-only: ro.'],
  EPERM: ['it may not be opened by this user', 'Change its owner or mode, or give the disk read-only: ro.'],
  EROFS: ['its file system is read-only', 'Give the disk read-only: ro.'],
  EINVAL: ['its file system cannot do I/O past the page cache', 'Leave out direct.'],
  EBUSY: ['it is in use', 'Unmount what is on it.'],
  ETXTBSY: ['it is in use', 'Stop the program that uses it.'],
};

function unusable(path: string, e: unknown): Error {
  const { code = '', message } = e as NodeJS.ErrnoException;
  const [why, hint] = WHY[code] ?? [message, 'See what the system says about it.'];
  return refuse(path, why, [hint], e);
}

function refuse(image: string, why: string, hint: readonly string[], cause?: unknown): Error {
  return errors.VMM_ERR_DISK_OPEN({ details: { image, verb: 'used', why, hint: hint.join(' ') }, cause });
}
