// Images whose every block is checked when it is read: behind the data of an erofs image lies a tree of SHA-256 hashes,
// as dm-verity of the kernel wants it, and its root hash on the kernel command line stands for all of it.
// Format: Documentation/admin-guide/device-mapper/verity.rst of the kernel, hash type 1, and the superblock of
// cryptsetup's lib/verity/verity.c, so that veritysetup(8) can read it. No salt: it hides nothing, as the data is public.

import { hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { errors } from '../errors.ts';

/** Of data and of hashes, in bytes. */
export const VERITY_BLOCK = 4096;
const DIGEST_BYTES = 32;
const PER_BLOCK = VERITY_BLOCK / DIGEST_BYTES;
/** Images of 16 TiB are not made; this bounds what a damaged superblock may ask for. */
const BLOCKS_MAX = 2 ** 32 - 1;
const READ_BLOCKS = 256;

const EROFS_SUPERBLOCK = 1024;
const EROFS_MAGIC = 0xe0f5e1e2;

export interface VerityImage {
  /** Hexadecimal. */
  readonly rootHash: string;
  /** Of data, each of {@link VERITY_BLOCK} bytes. */
  readonly dataBlocks: number;
  /** Where the tree begins, in blocks. */
  readonly hashStart: number;
}

/** How many blocks of hashes each level has, that next to the data first. */
export function verityLevels(dataBlocks: number): number[] {
  const levels: number[] = [];
  for (let blocks = dataBlocks; blocks > 1; ) {
    blocks = Math.ceil(blocks / PER_BLOCK);
    levels.push(blocks);
  }
  return levels;
}

const digest = (block: Buffer): Buffer => hash('sha256', block, 'buffer');

/** The hashes of the blocks of `data`, filled up with zeros to whole blocks. */
function levelOf(data: Buffer): Buffer {
  const count = data.length / VERITY_BLOCK;
  const out = Buffer.alloc(Math.ceil(count / PER_BLOCK) * VERITY_BLOCK);
  for (let i = 0; i < count; i++) {
    digest(data.subarray(i * VERITY_BLOCK, (i + 1) * VERITY_BLOCK)).copy(out, i * DIGEST_BYTES);
  }
  return out;
}

interface Tree {
  /** As it is stored: the top first. */
  readonly bytes: Buffer;
  readonly rootHash: string;
}

async function treeOf(file: FileHandle, dataBlocks: number): Promise<Tree> {
  const leaves = Buffer.alloc((verityLevels(dataBlocks)[0] ?? 0) * VERITY_BLOCK);
  for (let block = 0; block < dataBlocks; block += READ_BLOCKS) {
    const count = Math.min(READ_BLOCKS, dataBlocks - block);
    const level = levelOf(await readAt(file, block, count));
    level.copy(leaves, block * DIGEST_BYTES, 0, count * DIGEST_BYTES);
  }
  const levels: Buffer[] = [leaves];
  for (let top: Buffer = leaves; top.length > VERITY_BLOCK; levels.unshift(top)) top = levelOf(top);
  return { bytes: Buffer.concat(levels), rootHash: digest(levels[0] as Buffer).toString('hex') };
}

async function readAt(file: FileHandle, block: number, count: number): Promise<Buffer> {
  const bytes = Buffer.alloc(count * VERITY_BLOCK);
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, block * VERITY_BLOCK + at);
    if (bytesRead === 0) throw new RangeError('it ends too early');
    at += bytesRead;
  }
  return bytes;
}

/** How long the file system is says erofs itself, whatever lies behind it. fs/erofs/erofs_fs.h of the kernel. */
async function erofsBlocks(file: FileHandle): Promise<number> {
  const { size } = await file.stat();
  if (size < VERITY_BLOCK) throw new RangeError('it is too small for a file system');
  const head = (await readAt(file, 0, 1)).subarray(EROFS_SUPERBLOCK);
  const blocks = head.readUInt32LE(36);
  if (head.readUInt32LE(0) !== EROFS_MAGIC || head[12] !== 12) {
    throw new RangeError('it is no erofs image with blocks of 4096 bytes');
  }
  if (blocks < 2 || blocks > size / VERITY_BLOCK) throw new RangeError('its superblock gives a wrong length');
  return blocks;
}

function superblock(dataBlocks: number): Buffer {
  const out = Buffer.alloc(VERITY_BLOCK);
  out.write('verity', 0, 'latin1');
  out.writeUInt32LE(1, 8); // version
  out.writeUInt32LE(1, 12); // hash type
  out.write('00000000000040008000000000000000', 16, 'hex'); // UUID
  out.write('sha256', 32, 'latin1');
  out.writeUInt32LE(VERITY_BLOCK, 64);
  out.writeUInt32LE(VERITY_BLOCK, 68);
  out.writeBigUInt64LE(BigInt(dataBlocks), 72);
  return out;
}

/**
 * Lays superblock and tree behind an erofs image.
 * @throws SDK_ERR_IMAGE_FORMAT
 */
export async function appendVerity(path: string): Promise<VerityImage> {
  return withFile(path, 'r+', async (file) => {
    const dataBlocks = await erofsBlocks(file);
    const { bytes, rootHash } = await treeOf(file, dataBlocks);
    const at = dataBlocks * VERITY_BLOCK;
    await file.truncate(at);
    await file.write(superblock(dataBlocks), 0, VERITY_BLOCK, at);
    await file.write(bytes, 0, bytes.length, at + VERITY_BLOCK);
    return { rootHash, dataBlocks, hashStart: dataBlocks + 1 };
  });
}

/**
 * What an image says of itself; its blocks are not read.
 * @throws SDK_ERR_IMAGE_FORMAT when it has no tree
 */
export async function readVerity(path: string): Promise<VerityImage> {
  return withFile(path, 'r', async (file) => {
    const dataBlocks = await erofsBlocks(file);
    await checkSuperblock(file, dataBlocks);
    const rootHash = digest(await readAt(file, dataBlocks + 1, 1)).toString('hex');
    return { rootHash, dataBlocks, hashStart: dataBlocks + 1 };
  });
}

/**
 * Reads all of an image.
 * @param rootHash which it had when it was made
 * @returns what is wrong with it, in words; `undefined` when nothing is
 * @throws SDK_ERR_IMAGE_FORMAT when it has no tree
 */
export async function verifyVerity(path: string, rootHash: string): Promise<string | undefined> {
  return withFile(path, 'r', async (file) => {
    const dataBlocks = await erofsBlocks(file);
    await checkSuperblock(file, dataBlocks);
    const tree = await treeOf(file, dataBlocks);
    const stored = await readAt(file, dataBlocks + 1, tree.bytes.length / VERITY_BLOCK);
    const leavesAt = tree.bytes.length - (verityLevels(dataBlocks)[0] ?? 0) * VERITY_BLOCK;
    for (let i = 0; i < dataBlocks; i++) {
      const [from, to] = [leavesAt + i * DIGEST_BYTES, leavesAt + (i + 1) * DIGEST_BYTES];
      if (stored.compare(tree.bytes, from, to, from, to) !== 0) return `block ${i} does not have its hash`;
    }
    if (!stored.equals(tree.bytes)) return 'its hash tree does not fit together';
    return tree.rootHash === rootHash ? undefined : `its root hash is ${tree.rootHash}, not ${rootHash}`;
  });
}

async function checkSuperblock(file: FileHandle, dataBlocks: number): Promise<void> {
  const { size } = await file.stat();
  const hashBlocks = verityLevels(dataBlocks).reduce((sum, blocks) => sum + blocks, 1);
  const whole = dataBlocks <= BLOCKS_MAX && size >= (dataBlocks + hashBlocks) * VERITY_BLOCK;
  if (!whole || !(await readAt(file, dataBlocks, 1)).equals(superblock(dataBlocks))) {
    throw new RangeError('it has no hash tree of dm-verity');
  }
}

async function withFile<T>(path: string, flags: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, flags);
  try {
    return await use(file);
  } catch (e) {
    if (!(e instanceof RangeError)) throw e;
    throw errors.SDK_ERR_IMAGE_FORMAT({ details: { file: path, why: e.message }, cause: e });
  } finally {
    await file.close();
  }
}
