// Random disks and requests against a flat array of bytes, and against qemu-img. RUNTIME_FUZZ_CASES sets how many
// disks are played (default 12), RUNTIME_FUZZ_SEED with which it begins.

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openChain } from '../chain.ts';
import { imageFile } from '../image-file.ts';
import type { DiskFormat } from '../layers.ts';
import { type DiskRequest, DiskRig, qemuImg, Random, SECTOR } from '../test-rig.ts';
import { createQcow2 } from './create.ts';

const CASES = Number(process.env.RUNTIME_FUZZ_CASES ?? 12);
const SEED = Number(process.env.RUNTIME_FUZZ_SEED ?? 1);

const folder = mkdtempSync(join(tmpdir(), 'qcow2-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A flat disk; a read beyond its end gives zeroes. */
function resized(bytes: Uint8Array, size: number): Uint8Array {
  const larger = new Uint8Array(size);
  larger.set(bytes.subarray(0, size));
  return larger;
}

function scribble(random: Random, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.length; ) {
    const length = Math.min(bytes.length - offset, SECTOR * (1 + random.below(300)));
    if (random.chance(0.5)) for (let at = offset; at < offset + length; at += 1) bytes[at] = (at * 7 + length) & 0xff;
    offset += length;
  }
}

const someSize = (random: Random): number => SECTOR * (1 + random.below(4000));
const clusterSizes = [512, 1024, 4096, 65_536, 65_536, 2 ** 21];

/** An image that qemu-img made of random bytes. */
function makeBase(random: Random, path: string): { readonly bytes: Uint8Array; readonly format: DiskFormat } {
  const bytes = new Uint8Array(someSize(random));
  scribble(random, bytes);
  if (random.chance(0.25)) {
    writeFileSync(path, bytes);
    return { bytes, format: 'raw' };
  }
  writeFileSync(`${path}.raw`, bytes);
  const v2 = random.chance(0.2);
  const options = [`cluster_size=${random.pick(clusterSizes)}`, `compat=${v2 ? '0.10' : '1.1'}`];
  if (!v2) options.push(`refcount_bits=${random.pick([1, 2, 4, 8, 16, 32, 64])}`);
  const compress = random.chance(0.4);
  if (compress && !v2) options.push(`compression_type=${random.pick(['zlib', 'zstd'])}`);
  // Several compressed clusters share a cluster of the file, and so need counts above 1.
  const wide = options.map((option) =>
    compress ? option.replace(/refcount_bits=(1|2|4)$/, 'refcount_bits=16') : option,
  );
  const flags = compress ? ['-c'] : [];
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...flags, '-o', wide.join(','), `${path}.raw`, path);
  return { bytes, format: 'qcow2' };
}

function makeOverlay(random: Random, path: string, backing: string, format: DiskFormat, size: number): void {
  const clusterSize = random.pick(clusterSizes);
  if (random.chance(0.3)) {
    const v2 = random.chance(0.3);
    const options = [
      `cluster_size=${clusterSize}`,
      `compat=${v2 ? '0.10' : '1.1'}`,
      `lazy_refcounts=${v2 ? 'off' : 'on'}`,
    ];
    qemuImg('create', '-f', 'qcow2', '-b', backing, '-F', format, '-o', options.join(','), path, String(size));
    return;
  }
  const fd = openSync(path, 'w+');
  const refcountBits = random.pick([1, 8, 16, 16, 64]);
  createQcow2(imageFile(fd, path), { size, clusterSize, refcountBits, backing: { file: backing, format } });
  closeSync(fd);
}

function someRequest(random: Random, size: number): DiskRequest {
  const sectors = size / SECTOR;
  const from = random.below(sectors);
  const most = random.pick([1, 8, 64, 512]);
  const offset = from * SECTOR;
  const length = SECTOR * (1 + random.below(Math.min(most, sectors - from)));
  const dice = random.below(100);
  if (dice < 45) {
    const data = new Uint8Array(length);
    const first = random.below(256);
    for (let at = 0; at < length; at += 1) data[at] = (first + at + (at >> 9)) & 0xff;
    return { kind: 'write', offset, length, data };
  }
  if (dice < 70) return { kind: 'read', offset, length };
  const wide = Math.min(size - offset, length * 8);
  if (dice < 82) return { kind: 'zeroes', offset, length: wide, mayUnmap: random.chance(0.6) };
  if (dice < 94) return { kind: 'discard', offset, length: wide };
  return { kind: 'flush', offset: 0, length: 0 };
}

/** What a disk has to hold. What is there after a discard is known once it was read. */
class Model {
  readonly bytes: Uint8Array;
  readonly #discarded: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#discarded = new Uint8Array(bytes.length / SECTOR);
  }

  done(request: DiskRequest, data: Uint8Array): void {
    const { kind, offset, length } = request;
    const range = this.#discarded.subarray(offset / SECTOR, (offset + length) / SECTOR);
    if (kind === 'read') this.compare(data, offset);
    else range.fill(kind === 'discard' ? 1 : 0);
    if (kind === 'write') this.bytes.set(request.data as Uint8Array, offset);
    if (kind === 'zeroes') this.bytes.fill(0, offset, offset + length);
  }

  compare(data: Uint8Array, offset: number): void {
    for (let at = 0; at < data.length; at += SECTOR) {
      const sector = (offset + at) / SECTOR;
      if (this.#discarded[sector] === 0) continue;
      if (data.subarray(at, at + SECTOR).some((byte) => byte !== 0)) continue;
      this.#discarded[sector] = 0;
      this.bytes.fill(0, offset + at, offset + at + SECTOR);
    }
    expect(firstDifference(data, this.bytes.subarray(offset, offset + data.length))).toBe(-1);
  }
}

/** Plays requests that do not overlap while they are in flight. */
function play(random: Random, rig: DiskRig, bytes: Uint8Array, count: number): void {
  const model = new Model(bytes);
  const inFlight = new Set<DiskRequest>();
  for (let turn = 0; turn < count; turn += 1) {
    while (rig.full || (rig.busy > 0 && random.chance(0.6))) rig.step();
    const request = someRequest(random, bytes.length);
    const end = request.offset + request.length;
    if ([...inFlight].some((other) => other.offset < end && request.offset < other.offset + other.length)) continue;
    inFlight.add(request);
    rig.submit(request, (result, data) => {
      inFlight.delete(request);
      expect(result).toBe(0);
      model.done(request, data);
    });
  }
  rig.drain();
  model.compare(rig.readAll(bytes.length), 0);
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  if (Buffer.compare(a, b) === 0) return -1;
  return a.findIndex((byte, at) => byte !== b[at]);
}

async function playDisk(seed: number): Promise<void> {
  const random = new Random(seed);
  const path = (level: number): string => join(folder, `${seed}-${level}.img`);
  let { bytes: model, format } = makeBase(random, path(0));
  const levels = format === 'raw' ? 1 + random.below(3) : random.below(4);
  for (let level = 1; level <= levels; level += 1) {
    const size = random.chance(0.5) ? model.length : someSize(random);
    makeOverlay(random, path(level), path(level - 1), format, size);
    format = 'qcow2';
    model = resized(model, size);
    if (level < levels && random.chance(0.5)) model = await use(random, path(level), model, 40);
  }
  for (let round = 0; round < 2; round += 1) model = await use(random, path(levels), model, 150);
}

/** Opens the image, plays, closes it, and has qemu-img look at it. @returns the model of the disk, which may have grown */
async function use(random: Random, path: string, before: Uint8Array, count: number): Promise<Uint8Array> {
  let model = before;
  {
    using chain = openChain(path, { format: 'qcow2', readonly: false });
    using rig = new DiskRig(chain.entries, random);
    expect(rig.store.capacity).toBe(model.length);
    expect(firstDifference(rig.readAll(model.length), model)).toBe(-1);
    for (let part = 0; part < 3; part += 1) {
      play(random, rig, model, count / 3);
      if (random.chance(0.3)) rig.store.settle();
      if (random.chance(0.7)) continue;
      const size = model.length + SECTOR * random.below(4000);
      const done = rig.store.resize(size);
      rig.drain();
      await done;
      model = resized(model, size);
      expect(firstDifference(rig.readAll(size), model)).toBe(-1);
    }
    rig.store.settle();
    expect(rig.warnings).toEqual([]);
  }
  expect(() => qemuImg('check', '-f', 'qcow2', path)).not.toThrow();
  qemuImg('convert', '-f', 'qcow2', '-O', 'raw', path, `${path}.flat`);
  expect(firstDifference(readFileSync(`${path}.flat`), model)).toBe(-1);
  return model;
}

test.each(Array.from({ length: CASES }, (_, index) => SEED + index))('disk %i', async (seed) => {
  await playDisk(seed);
});
