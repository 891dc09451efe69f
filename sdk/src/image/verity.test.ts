import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { appendVerity, readVerity, VERITY_BLOCK, verifyVerity, verityLevels } from './verity.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'verity-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** What erofs says of its length, and numbered blocks. */
function image(blocks: number): string {
  const bytes = Buffer.alloc(blocks * VERITY_BLOCK);
  for (let i = 0; i < blocks; i++) bytes.writeUInt32LE(i, i * VERITY_BLOCK);
  bytes.writeUInt32LE(0xe0f5e1e2, 1024);
  bytes[1024 + 12] = 12;
  bytes.writeUInt32LE(blocks, 1024 + 36);
  const path = join(folder, `image-${blocks}`);
  writeFileSync(path, bytes);
  return path;
}

const sha = (...parts: Buffer[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest();

/** The root hash as the format says, by recursion over slices rather than levels. */
function rootOf(data: Buffer): string {
  if (data.length === VERITY_BLOCK) return sha(data).toString('hex');
  const digests: Buffer[] = [];
  for (let at = 0; at < data.length; at += VERITY_BLOCK) digests.push(sha(data.subarray(at, at + VERITY_BLOCK)));
  const row = Buffer.concat(digests);
  const padding = Buffer.alloc((VERITY_BLOCK - (row.length % VERITY_BLOCK)) % VERITY_BLOCK);
  return rootOf(Buffer.concat([row, padding]));
}

test.each([2, 127, 128, 129, 300, 16_384, 16_385])('%i blocks have the root hash of the format', async (blocks) => {
  const path = image(blocks);
  const before = readFileSync(path);
  const made = await appendVerity(path);
  const after = readFileSync(path);
  expect(after.subarray(0, before.length).equals(before)).toBe(true);
  expect(made).toEqual({ rootHash: rootOf(before), dataBlocks: blocks, hashStart: blocks + 1 });
  expect(await readVerity(path)).toEqual(made);
  expect(await verifyVerity(path, made.rootHash)).toBeUndefined();
  const hashBlocks = verityLevels(blocks).reduce((sum, n) => sum + n, 0);
  expect(after.length).toBe((blocks + 1 + hashBlocks) * VERITY_BLOCK);
});

test('to do it twice changes nothing', async () => {
  const path = image(200);
  const first = await appendVerity(path);
  const bytes = readFileSync(path);
  expect(await appendVerity(path)).toEqual(first);
  expect(readFileSync(path).equals(bytes)).toBe(true);
});

test('a changed bit anywhere is found', async () => {
  const path = image(140);
  const { rootHash } = await appendVerity(path);
  const sound = readFileSync(path);
  const used = 142 * VERITY_BLOCK + 2 * 32; // of the top block, the two hashes; behind them are zeros
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: used * 8 - 1 }), async (bit) => {
      const damaged = Buffer.from(sound);
      const at = bit >> 3;
      damaged[at] = (damaged[at] as number) ^ (1 << (bit & 7));
      writeFileSync(path, damaged);
      const result = await verifyVerity(path, rootHash).catch((e: { code: string }) => e.code);
      // In a superblock it can look like another format.
      expect(result).toMatch(/^(block \d+ does|its hash tree|its root hash|SDK_ERR_IMAGE_FORMAT)/);
      if (at >= VERITY_BLOCK && at < 140 * VERITY_BLOCK) {
        expect(result).toBe(`block ${Math.floor(at / VERITY_BLOCK)} does not have its hash`);
      }
    }),
    { numRuns: 60 },
  );
});

test('another image in its place has another root hash', async () => {
  const { rootHash } = await appendVerity(image(5));
  const other = image(6);
  await appendVerity(other);
  expect(await verifyVerity(other, rootHash)).toMatch(/^its root hash is [0-9a-f]{64}, not/);
});

test('what is no image, or was cut off, is refused', async () => {
  const path = image(50);
  await expect(readVerity(path)).rejects.toMatchObject({ code: 'SDK_ERR_IMAGE_FORMAT' });
  await appendVerity(path);
  truncateSync(path, readFileSync(path).length - 1);
  await expect(readVerity(path)).rejects.toMatchObject({ code: 'SDK_ERR_IMAGE_FORMAT' });
  truncateSync(path, 10 * VERITY_BLOCK);
  await expect(appendVerity(path)).rejects.toMatchObject({ code: 'SDK_ERR_IMAGE_FORMAT' });
  writeFileSync(path, Buffer.alloc(3 * VERITY_BLOCK, 7));
  await expect(appendVerity(path)).rejects.toMatchObject({ code: 'SDK_ERR_IMAGE_FORMAT' });
  writeFileSync(path, 'short');
  await expect(appendVerity(path)).rejects.toMatchObject({ code: 'SDK_ERR_IMAGE_FORMAT' });
});

const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
function hasVeritysetup(): boolean {
  try {
    execFileSync('veritysetup', ['--version'], { env: { PATH }, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test.skipIf(!hasVeritysetup())('veritysetup(8) makes the same tree and accepts ours', async () => {
  const path = image(1000);
  writeFileSync(`${path}.copy`, readFileSync(path));
  const { rootHash, dataBlocks } = await appendVerity(path);
  const offset = `--hash-offset=${dataBlocks * VERITY_BLOCK}`;
  execFileSync('veritysetup', ['verify', offset, path, path, rootHash], { env: { PATH } });
  const theirs = ['--salt=-', '--uuid=00000000-0000-4000-8000-000000000000', `--data-blocks=${dataBlocks}`];
  execFileSync('veritysetup', ['format', offset, ...theirs, `${path}.copy`, `${path}.copy`], { env: { PATH } });
  expect(readFileSync(`${path}.copy`).equals(readFileSync(path))).toBe(true);
});
