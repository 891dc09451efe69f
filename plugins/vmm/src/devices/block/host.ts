// The half of the block device that runs in the runtime: it opens the image, so that the device process needs no path.

import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { blockDeviceSectors } from '@runtime/sdk/linux';
import { lock, type OpenedChain, openChain } from '../../disk/chain.ts';
import { imageFile } from '../../disk/image-file.ts';
import { readHeader } from '../../disk/qcow2/header.ts';
import { errors } from '../../errors.ts';
import { type BlockOptions, DEFAULTS, type DiskFormat } from './options.ts';

export interface BlockSource extends Partial<Omit<BlockOptions, 'format' | 'backing'>> {
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

/** @throws VMM_ERR_DISK_OPEN, VMM_ERR_DISK_IN_USE; what openChain() throws of a qcow2 image */
export function openBlock(source: BlockSource): OpenedBlock {
  const { path } = source;
  const options = optionsOf(source);
  if (options.format === 'qcow2') return openQcow2(path, options);
  checkKind(path, options);
  if (source.format === undefined && startsAsQcow2(path)) {
    throw refuse(path, 'it begins as a qcow2 file does, and nothing says that it is one', [
      'Say what it is: format=qcow2;',
      'or format=raw, if a guest has written those bytes to its disk.',
    ]);
  }
  return openRaw(path, options);
}

/** As openBlock(), with the descriptors that a device process has kept. Disposing closes them. */
export function adoptBlock(source: BlockSource, fds: Readonly<Record<string, number>>): OpenedBlock {
  const options = optionsOf(source);
  const below = Object.keys(fds).filter((name) => name !== 'disk').length;
  const backing: DiskFormat[] = [];
  for (let i = 0; i < below; i++) {
    const name = i === 0 ? 'disk' : `backing${i - 1}`;
    const { backing: reference } = readHeader(imageFile(fds[name] ?? -1, name));
    backing.push(reference?.format === 'qcow2' ? 'qcow2' : 'raw');
  }
  const close = (): void => {
    for (const fd of Object.values(fds)) closeSync(fd);
  };
  return { options: { ...options, backing }, fds, [Symbol.dispose]: close };
}

function optionsOf({ path, format = formatByName(path), ...settings }: BlockSource): BlockOptions {
  const given = Object.fromEntries(Object.entries(settings).filter(([, setting]) => setting !== undefined));
  return { ...DEFAULTS, ...given, format };
}

function openQcow2(path: string, options: BlockOptions): OpenedBlock {
  if (options.direct) {
    throw refuse(path, 'direct I/O is for raw images, and it is qcow2', ['Leave out direct.']);
  }
  const chain: OpenedChain = openChain(path, { format: 'qcow2', readonly: options.readonly });
  const [, ...below] = chain.entries;
  const named = chain.entries.map(({ fd }, i) => [i === 0 ? 'disk' : `backing${i - 1}`, fd] as const);
  return {
    options: { ...options, backing: below.map(({ format }) => format) },
    fds: Object.fromEntries(named),
    [Symbol.dispose]: () => chain[Symbol.dispose](),
  };
}

function openRaw(path: string, options: BlockOptions): OpenedBlock {
  const disk = open(path, options);
  try {
    checkSectors(disk, path, options);
    lock(disk, path, !options.readonly);
  } catch (e) {
    closeSync(disk);
    throw e;
  }
  return { options, fds: { disk }, [Symbol.dispose]: () => closeSync(disk) };
}

const formatByName = (path: string): DiskFormat => (/\.qcow2?$/.test(path) ? 'qcow2' : 'raw');

/** Before it is opened: opening a FIFO would wait for its other end, and a terminal would become ours. */
function checkKind(path: string, { blockSize }: BlockOptions): void {
  let stats: ReturnType<typeof statSync>;
  try {
    stats = statSync(path);
  } catch (e) {
    throw unusable(path, e);
  }
  if (stats.isBlockDevice()) return;
  if (!stats.isFile()) throw refuse(path, 'it is neither a file nor a block device', ['Name the file of an image.']);
  if (stats.size === 0) throw refuse(path, 'it is empty', ['Give it a size: runtime vm disk create.']);
  if (blockSize > 512 && stats.size % blockSize !== 0) {
    throw refuse(path, `its ${stats.size} bytes are no whole blocks of ${blockSize} bytes`, [
      'Leave out block-size, or make the image larger: runtime vm disk resize.',
    ]);
  }
}

function checkSectors(disk: number, path: string, { direct, blockSize }: BlockOptions): void {
  if (!direct || !fstatSync(disk).isBlockDevice()) return;
  const { logical } = blockDeviceSectors(disk);
  if (logical <= blockSize) return;
  throw refuse(path, `past the page cache it takes whole sectors of ${logical} bytes only`, [
    `Say so to the guest (block-size=${logical}), or leave out direct.`,
  ]);
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
