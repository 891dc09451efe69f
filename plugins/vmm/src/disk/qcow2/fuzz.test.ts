// Images whose metadata was tampered with. Each is opened, read, written to and closed, or refused with a code; nothing
// else is thrown, nothing takes long, and nothing outside the file is believed to be in it. RUNTIME_FUZZ_CASES sets how
// many images are tried (default 400), RUNTIME_FUZZ_SEED with which it begins.

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRuntimeError } from '@runtime/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openChain } from '../chain.ts';
import { imageFile } from '../image-file.ts';
import { SyncDisk } from '../sync-disk.ts';
import { qemuImg, Random } from '../test-rig.ts';
import { checkDisk } from '../tool.ts';
import { createQcow2 } from './create.ts';

const CASES = Number(process.env.RUNTIME_FUZZ_CASES ?? 400);
const SEED = Number(process.env.RUNTIME_FUZZ_SEED ?? 1);
const STUCK_MS = 5000;
/** An image is allowed to become this much larger by what is written to it here. */
const MOST_GROWTH = 256 * 2 ** 20;

const folder = mkdtempSync(join(tmpdir(), 'qcow2-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'image.qcow2');

interface Sound {
  readonly bytes: Buffer;
  /** Where something other than data is, as offset and length. */
  readonly metadata: readonly (readonly [offset: number, length: number])[];
}

const sound: Sound[] = [];

beforeAll(() => {
  for (const clusterSize of [512, 4096, 65_536]) {
    const plain = join(folder, 'plain');
    const fd = openSync(plain, 'w+');
    createQcow2(imageFile(fd, plain), { size: 2 ** 20, clusterSize });
    using disk = new SyncDisk([{ fd, format: 'qcow2', name: plain }], { readonly: false });
    const data = new Uint8Array(100_352).fill(0x5a);
    disk.write(data, 0);
    disk.write(data, 500_224);
    disk.writeZeroes(131_072, 65_536);
    disk.settle();
    closeSync(fd);
    sound.push(described(readFileSync(plain)));
    writeFileSync(join(folder, 'raw'), data);
    const packed = join(folder, 'packed');
    const options = `cluster_size=${clusterSize}`;
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, join(folder, 'raw'), packed);
    sound.push(described(readFileSync(packed)));
  }
});

function described(bytes: Buffer): Sound {
  const clusterSize = 2 ** bytes.readUInt32BE(20);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const table = Number(bytes.readBigUInt64BE(48));
  const metadata: [number, number][] = [[0, 120]];
  const l1Bytes = bytes.readUInt32BE(36) * 8;
  metadata.push([l1, l1Bytes], [table, 64]);
  for (let at = l1; at < l1 + l1Bytes; at += 8) {
    const l2 = Number(bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
    if (l2 > 0) metadata.push([l2, Math.min(clusterSize, 1024)]);
  }
  const block = Number(bytes.readBigUInt64BE(table));
  metadata.push([block, Math.min(clusterSize, 128)]);
  return { bytes, metadata };
}

const INTERESTING = [
  0n,
  1n,
  2n ** 9n,
  2n ** 16n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 55n,
  2n ** 62n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** A few changes to the metadata of a sound image. */
function mutate(seed: number): Buffer {
  const random = new Random(seed);
  const { bytes, metadata } = random.pick(sound);
  let image = Buffer.from(bytes);
  for (let change = 0; change <= random.below(4); change += 1) {
    const [offset, length] = random.pick(metadata);
    const at = offset + random.below(length);
    const aligned = Math.min(image.length - 8, at - (at % 8));
    const dice = random.below(6);
    if (dice === 0) image[at] = random.below(256);
    else if (dice === 1) image[at] = (image[at] as number) ^ (1 << random.below(8));
    else if (dice === 2) image.writeBigUInt64BE(random.pick(INTERESTING), aligned);
    else if (dice === 3) image.writeUInt32BE(Number(random.pick(INTERESTING) & 0xffff_ffffn), aligned);
    else if (dice === 4) {
      // An offset of something else, so that two things lie on each other.
      const [other] = random.pick(metadata);
      image.writeBigUInt64BE(BigInt(other) | (random.chance(0.5) ? 2n ** 63n : 0n), aligned);
    } else if (random.chance(0.2)) image = image.subarray(0, Math.max(8, random.below(image.length)));
  }
  return image;
}

/** Everything that is done with an image; what it throws has a code. */
function use(image: Buffer): void {
  writeFileSync(path, image);
  const attempts: (() => void)[] = [
    () => void checkDisk(path),
    () => {
      using chain = openChain(path, { format: 'qcow2', readonly: true });
      using disk = new SyncDisk(chain.entries, { readonly: true });
      readParts(disk);
    },
    () => {
      using chain = openChain(path, { format: 'qcow2', readonly: false });
      using disk = new SyncDisk(chain.entries, { readonly: false });
      writeParts(disk);
      disk.settle();
    },
    () => void checkDisk(path, { repair: true }),
  ];
  for (const attempt of attempts) coded(attempt);
}

function coded(fn: () => void): void {
  try {
    fn();
  } catch (e) {
    if (!isRuntimeError(e) || !e.code.startsWith('VMM_ERR_DISK_')) throw e;
  }
}

const positions = (size: number): number[] =>
  [0, 512, 65_536, 131_072, 500_224, size / 2, size - 512]
    .map((at) => Math.max(0, Math.min(at - (at % 512), size - 512)))
    .filter((at) => at >= 0 && at + 512 <= size);

function readParts(disk: SyncDisk): void {
  for (const at of positions(disk.size)) {
    const target = new Uint8Array(Math.min(70_144, disk.size - at));
    coded(() => disk.read(target, at));
  }
}

function writeParts(disk: SyncDisk): void {
  for (const at of positions(disk.size)) {
    const length = Math.min(4096, disk.size - at);
    coded(() => disk.write(new Uint8Array(length).fill(1), at));
    coded(() => disk.writeZeroes(at, Math.min(200_192, disk.size - at)));
    coded(() => disk.discard(at, Math.min(200_192, disk.size - at)));
    coded(() => disk.write(new Uint8Array(Math.min(70_144, disk.size - at)).fill(2), at));
  }
  coded(() => disk.flush());
}

function play(image: Buffer, what: string): void {
  const began = performance.now();
  const memory = process.memoryUsage.rss();
  try {
    use(image);
  } catch (e) {
    throw new Error(`${what} was not refused as it should be`, { cause: e });
  }
  expect(performance.now() - began, what).toBeLessThan(STUCK_MS);
  expect(process.memoryUsage.rss() - memory, what).toBeLessThan(MOST_GROWTH);
  expect(statSync(path).size, what).toBeLessThan(image.length + MOST_GROWTH);
}

test('images with mutated metadata', { timeout: 600_000 }, () => {
  for (let seed = SEED; seed < SEED + CASES; seed += 1) play(mutate(seed), `case ${seed}`);
});
