// Guests that mean harm, and a disk whose content is known all the time: what they were told is what is in the file, and
// nothing else of the host has changed.

import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attackDevice, type DrivenDevice, driveDevice, type Random, seededRandom } from '@runtime/sdk/testing';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { imageFile } from '../../disk/image-file.ts';
import { checkImage } from '../../disk/qcow2/check.ts';
import { createQcow2 } from '../../disk/qcow2/create.ts';
import { readHeader } from '../../disk/qcow2/header.ts';
import device from './index.ts';
import { RequestType, Status } from './protocol.ts';
import { BlockRig, type Request } from './test-rig.ts';

/** Of the attacks on each kind of ring; RUNTIME_FUZZ_CASES sets how many acts are played in all (default 4,500). */
const ROUNDS = Math.ceil(Number(process.env.RUNTIME_FUZZ_CASES ?? 4_500) / 180);
const SECTORS = 64;
const DISK_BYTES = SECTORS * 512;
const NEIGHBOUR = Buffer.alloc(4096, 0xc5);

let folder: string;
let disk: string;
let neighbour: string;
let fd: number;
let neighbourFd: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'block-fuzz-'));
  disk = join(folder, 'disk.img');
  neighbour = join(folder, 'neighbour.img');
  writeFileSync(disk, Buffer.alloc(DISK_BYTES, 1));
  writeFileSync(neighbour, NEIGHBOUR);
  fd = openSync(disk, 'r+');
  neighbourFd = openSync(neighbour, 'r+');
});

afterEach(() => {
  expect(Buffer.compare(readFileSync(neighbour), NEIGHBOUR)).toBe(0);
  expect(fstatSync(fd).size).toBe(DISK_BYTES);
  closeSync(fd);
  closeSync(neighbourFd);
  rmSync(folder, { recursive: true });
});

const pick = <T>(random: Random, values: readonly T[]): T => values[random(values.length)] as T;

const EDGE_SECTORS: readonly bigint[] = [
  BigInt(SECTORS) - 1n,
  BigInt(SECTORS),
  2n ** 32n,
  2n ** 44n,
  2n ** 53n - 1n,
  2n ** 55n,
  2n ** 64n - 1n,
];
const LENGTHS = [0, 1, 511, 512, 513, 1024, 4096, DISK_BYTES, DISK_BYTES + 512];

const sectorOf = (random: Random): bigint => (random(3) > 0 ? BigInt(random(SECTORS)) : pick(random, EDGE_SECTORS));

function rangesOf(random: Random): Uint8Array {
  const count = pick(random, [0, 1, 1, 2, 32, 33]);
  const view = new DataView(new ArrayBuffer(count * 16 + pick(random, [0, 0, 0, 7])));
  for (let i = 0; i < count; i++) {
    view.setBigUint64(i * 16, sectorOf(random), true);
    view.setUint32(i * 16 + 8, pick(random, [0, 1, 2, 8, SECTORS, 2 ** 22, 2 ** 32 - 1]), true);
    view.setUint32(i * 16 + 12, pick(random, [0, 0, 0, 1, 1, 2, 2 ** 31]), true);
  }
  return new Uint8Array(view.buffer);
}

function requestOf(random: Random): Request {
  const type = pick(random, [0, 0, 1, 1, 1, 4, 8, 10, 11, 13, 13, 2, 14, 0xffff_ffff]);
  const isRanges = type === RequestType.discard || type === RequestType.writeZeroes;
  const out = isRanges ? rangesOf(random) : new Uint8Array(pick(random, LENGTHS)).fill(random(256));
  const split = Array.from({ length: random(6) }, () => 1 + random(700));
  const sized = type === RequestType.out || isRanges ? { out } : { room: pick(random, LENGTHS) };
  return { type, sector: sectorOf(random), ...sized, ...(random(2) === 0 ? {} : { split }) };
}

/** What a disk does, in a few lines. */
function apply(model: Buffer, { type, sector = 0, out = new Uint8Array() }: Request): void {
  const at = Number(sector) * 512;
  if (type === RequestType.out) model.set(out, at);
  if (type !== RequestType.writeZeroes && type !== RequestType.discard) return;
  const view = new DataView(out.buffer);
  for (let i = 0; i < out.length; i += 16) {
    const from = Number(view.getBigUint64(i, true)) * 512;
    model.fill(0, from, from + view.getUint32(i + 8, true) * 512);
  }
}

test('any request does what a disk does, or nothing', () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const random = seededRandom(seed);
      writeFileSync(disk, Buffer.alloc(DISK_BYTES, 1));
      const model = Buffer.alloc(DISK_BYTES, 1);
      using rig = new BlockRig(fd, { direct: random(2) === 0 });
      for (let i = 0; i < 20; i++) {
        const request = requestOf(random);
        const { status, data } = rig.ask(request);
        expect([Status.ok, Status.ioError, Status.unsupported]).toContain(status);
        if (status !== Status.ok) continue;
        // A file system need not zero what is discarded; those of the tests do.
        apply(model, request);
        const at = Number(request.sector) * 512;
        if (request.type === RequestType.in) {
          expect(Buffer.compare(data, model.subarray(at, at + data.length))).toBe(0);
        }
      }
      expect(Buffer.compare(readFileSync(disk), model)).toBe(0);
    }),
    { numRuns: 2 * ROUNDS },
  );
});

/** Requests in a sound ring, some of which a disk can carry out. */
async function ask(driven: DrivenDevice, random: Random, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const request = requestOf(random);
    const { out = new Uint8Array(), room = 0 } = request;
    const readable = [headerOf(request), out].filter(({ length }) => length > 0);
    const writable = [room, 1].filter((length) => length > 0);
    await driven.exchange(readable, writable);
  }
}

function headerOf({ type, sector = 0 }: Request): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

/** Header and what follows it, as bytes: for a guest that puts them anywhere. */
function bytesOf(random: Random): Uint8Array {
  const request = requestOf(random);
  const { out = new Uint8Array() } = request;
  return Buffer.concat([headerOf(request), out.subarray(0, 600)]);
}

describe('whatever the guest writes to its rings and requests, the next one is served', () => {
  test.each([{}, { packed: true }, { indirect: true, eventIdx: true }])('%o', async (ring) => {
    const random = seededRandom(11);
    await using driven = await driveDevice(device, {
      fds: { disk: fd },
      options: { queueSize: 16, queues: 2 },
      driver: { ...ring, size: 16 },
    });
    for (let round = 0; round < ROUNDS; round++) {
      await attackDevice(driven, random, { acts: 60, request: bytesOf });
      await ask(driven, random, 10);
      const { data } = await driven.exchange([new Uint8Array(16)], [512, 1], round % 2);
      expect(data.at(-1)).toBe(Status.ok);
      expect(Buffer.compare(data.subarray(0, 512), readFileSync(disk).subarray(0, 512))).toBe(0);
    }
    expect(driven.stats.refused).toBeGreaterThan(0);
    expect(driven.stats.writes).toBeGreaterThan(0);
  });

  test('a qcow2 image stays sound', async () => {
    const image = join(folder, 'disk.qcow2');
    const file = openSync(image, 'wx+');
    createQcow2(imageFile(file, image), { size: DISK_BYTES * 8, clusterSize: 4096 });
    const random = seededRandom(12);
    {
      await using driven = await driveDevice(device, {
        fds: { disk: file },
        options: { queueSize: 16, format: 'qcow2' },
        driver: { size: 16, indirect: true },
      });
      for (let round = 0; round < ROUNDS; round++) {
        await attackDevice(driven, random, { acts: 60, request: bytesOf });
        await ask(driven, random, 10);
        const { data } = await driven.exchange([new Uint8Array(16)], [512, 1]);
        expect(data.at(-1)).toBe(Status.ok);
      }
      expect(driven.stats.writes).toBeGreaterThan(0);
    }
    const opened = imageFile(file, image);
    expect(checkImage(opened, readHeader(opened))).toMatchObject({ corruptions: 0, leaks: 0, badEntries: 0 });
    closeSync(file);
  });
});
