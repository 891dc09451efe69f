import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memfdCreate } from '@runtime/sdk/linux';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RequestType, Status } from './protocol.ts';
import { readsAtOnce } from './reads-at-once.ts';
import { BlockRig, FakeIo } from './test-rig.ts';

const SECTORS = 256;
const DISK_BYTES = SECTORS * 512;

let folder: string;
let path: string;
let fd: number;
let content: Buffer;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'block-'));
  path = join(folder, 'disk.img');
  content = Buffer.alloc(DISK_BYTES);
  for (let i = 0; i < content.length; i += 4) content.writeUInt32LE(i, i);
  writeFileSync(path, content);
  fd = openSync(path, 'r+');
});

afterEach(() => {
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

const at = (sector: number, bytes: number): Buffer => content.subarray(sector * 512, sector * 512 + bytes);
const pattern = (bytes: number, seed = 7): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (i * seed) & 0xff);
const ranges = (
  ...list: readonly (readonly [sector: number | bigint, sectors: number, flags?: number])[]
): Uint8Array => {
  const view = new DataView(new ArrayBuffer(list.length * 16));
  for (const [i, [sector, sectors, flags = 0]] of list.entries()) {
    view.setBigUint64(i * 16, BigInt(sector), true);
    view.setUint32(i * 16 + 8, sectors, true);
    view.setUint32(i * 16 + 12, flags, true);
  }
  return new Uint8Array(view.buffer);
};

describe('reading and writing', () => {
  test('gives what is in the file, wherever it is', () => {
    using rig = new BlockRig(fd);
    for (const [sector, bytes] of [
      [0, 512],
      [3, 4096],
      [SECTORS - 1, 512],
      [0, DISK_BYTES],
    ] as const) {
      const answer = rig.read(sector, bytes);
      expect(answer.status).toBe(Status.ok);
      expect(answer.written).toBe(bytes + 1);
      expect(Buffer.compare(answer.data, at(sector, bytes))).toBe(0);
    }
    expect(rig.stats).toMatchObject({ reads: 4, bytesRead: 512 + 4096 + 512 + DISK_BYTES, errors: 0 });
  });

  test('writes what the driver sends, and nothing beside it', () => {
    using rig = new BlockRig(fd);
    const data = pattern(1536);
    expect(rig.write(10, data)).toMatchObject({ status: Status.ok, written: 1 });
    content.set(data, 10 * 512);
    expect(Buffer.compare(readFileSync(path), content)).toBe(0);
  });

  test('a write to the page cache is made at once', () => {
    using rig = new BlockRig(fd, { direct: false });
    const data = pattern(1024);
    expect(rig.write(10, data).status).toBe(Status.ok);
    expect(rig.ask({ type: RequestType.out, sector: 12, out: data, split: [16, 512] }).status).toBe(Status.ok);
    expect(rig.io.begun).toEqual([]);
    content.set(data, 10 * 512);
    content.set(data, 12 * 512);
    expect(Buffer.compare(readFileSync(path), content)).toBe(0);
  });

  test.each([
    ['the header in many parts', [1, 2, 3, 4, 6]],
    ['the header with the beginning of the data', [100, 412 + 16]],
    ['one segment for all that is read', [528]],
    ['data byte by byte at first', [16, 1, 1, 1, 509]],
  ])('takes %s', (_name, split) => {
    using rig = new BlockRig(fd);
    const data = pattern(512, 11);
    expect(rig.ask({ type: RequestType.out, sector: 5, out: data, split }).status).toBe(Status.ok);
    expect(Buffer.compare(readFileSync(path).subarray(5 * 512, 6 * 512), data)).toBe(0);
  });

  test('puts the status into the last byte, also where it shares a segment with the data', () => {
    using rig = new BlockRig(fd);
    for (const split of [
      [16, 1025],
      [16, 1, 1023, 1],
      [16, 1000, 25],
    ]) {
      const answer = rig.ask({ type: RequestType.in, sector: 1, room: 1024, split });
      expect(answer.status).toBe(Status.ok);
      expect(Buffer.compare(answer.data, at(1, 1024))).toBe(0);
    }
  });

  test.each([
    ['one sector past the end', SECTORS, 512],
    ['the last sector and one more', SECTORS - 1, 1024],
    ['the largest sector that is a Number', 2n ** 53n - 1n, 512],
    ['the largest sector', 2n ** 64n - 1n, 512],
    ['a sector whose bytes go round', 2n ** 55n, 512],
    ['no whole sectors', 0, 511],
  ] as const)('refuses %s', (_name, sector, bytes) => {
    using rig = new BlockRig(fd);
    const read = rig.ask({ type: RequestType.in, sector, room: bytes });
    const write = rig.ask({ type: RequestType.out, sector, out: new Uint8Array(bytes) });
    expect([read.status, write.status]).toEqual([Status.ioError, Status.ioError]);
    expect(read.data.every((byte) => byte === 0xee)).toBe(true);
    expect(rig.io.begun).toEqual([]);
    expect(rig.stats).toMatchObject({ refused: 2, errors: 0 });
    expect(Buffer.compare(readFileSync(path), content)).toBe(0);
  });

  test('a request without data ends well', () => {
    using rig = new BlockRig(fd);
    expect(rig.read(0, 0).status).toBe(Status.ok);
    expect(rig.write(SECTORS, new Uint8Array()).status).toBe(Status.ok);
  });

  test('a read-only disk is not written', () => {
    using rig = new BlockRig(fd, { readonly: true });
    expect(rig.write(0, pattern(512)).status).toBe(Status.ioError);
    expect(rig.ask({ type: RequestType.writeZeroes, out: ranges([0, 8]) }).status).toBe(Status.ioError);
    expect(rig.read(0, 512).status).toBe(Status.ok);
    expect(Buffer.compare(readFileSync(path), content)).toBe(0);
  });

  test('takes no more than can be in flight, and the rest when there is room', () => {
    using rig = new BlockRig(fd, {}, new FakeIo(4));
    const heads = Array.from({ length: 50 }, (_, i) => rig.send({ type: RequestType.in, sector: i, room: 512 }));
    rig.begin();
    expect(rig.io.inFlight).toBe(4);
    rig.run();
    for (const [i, head] of heads.entries())
      expect(Buffer.compare(rig.answer(head)?.data ?? new Uint8Array(), at(i, 512))).toBe(0);
    expect(rig.stats.inFlightMax).toBe(4);
  });
});

describe('what is no request', () => {
  test.each([
    ['a header that is too short', 15, 1, Status.ioError],
    ['nothing to read', 0, 1, Status.ioError],
    ['no room for a status', 16, 0, undefined],
  ])('%s is given back', (_name, readable, writable, status) => {
    using rig = new BlockRig(fd);
    const head = rig.sendRaw(new Uint8Array(readable), writable);
    rig.run();
    expect(rig.answer(head)?.status).toBe(status);
    expect(rig.stats.refused).toBe(1);
  });

  test.each([2, 3, 5, 9, 12, 14, 0x100, 0x8000_0000, 0xffff_ffff])('type %i is not supported', (type) => {
    using rig = new BlockRig(fd);
    expect(rig.ask({ type, room: 512 }).status).toBe(Status.unsupported);
  });

  test('is logged a few times only', () => {
    using rig = new BlockRig(fd);
    for (let i = 0; i < 100; i++) rig.ask({ type: 99 });
    expect(rig.stats.refused).toBe(100);
    expect(rig.warnings).toHaveLength(1);
  });
});

describe('what the disk says of itself', () => {
  test('its serial, filled with zeroes', () => {
    using rig = new BlockRig(fd, { serial: 'disk-one' });
    const { status, data } = rig.ask({ type: RequestType.getId, room: 20 });
    expect(status).toBe(Status.ok);
    expect(Buffer.from(data).toString()).toBe(`disk-one${'\0'.repeat(12)}`);
    expect(Buffer.from(rig.ask({ type: RequestType.getId, room: 4 }).data).toString()).toBe('disk');
    expect(rig.ask({ type: RequestType.getId }).status).toBe(Status.ok);
  });

  test('a lifetime of which nothing is known', () => {
    using rig = new BlockRig(fd);
    const { status, data } = rig.ask({ type: RequestType.getLifetime, room: 6 });
    expect([status, [...data]]).toEqual([Status.ok, [0, 0, 0, 0, 0, 0]]);
  });

  test('a file that ends within a sector is as large as its last sector, and ends in zeroes', () => {
    writeFileSync(path, content.subarray(0, 1000));
    using rig = new BlockRig(fd);
    expect(rig.capacity).toBe(1024);
    const { status, data } = rig.read(0, 1024);
    expect(status).toBe(Status.ok);
    expect(Buffer.compare(data, Buffer.concat([content.subarray(0, 1000), Buffer.alloc(24)]))).toBe(0);
    expect(Buffer.compare(rig.read(1, 512).data.subarray(488), Buffer.alloc(24))).toBe(0);
  });

  test('so it does past the page cache, where nothing can be read from within a sector on', () => {
    writeFileSync(path, content.subarray(0, 1000));
    using rig = new BlockRig(fd);
    rig.io.intercept = ({ name, offset }) => (name.startsWith('read') && offset % 512 !== 0 ? -22 : undefined);
    const { status, data } = rig.read(0, 1024);
    expect(status).toBe(Status.ok);
    expect(Buffer.compare(data, Buffer.concat([content.subarray(0, 1000), Buffer.alloc(24)]))).toBe(0);
    rig.io.intercept = () => -22;
    expect(rig.read(0, 512).status).toBe(Status.ioError);
  });
});

describe('giving space back', () => {
  const blocks = (): number => fstatSync(fd).blocks;

  test('a discard punches holes', () => {
    using rig = new BlockRig(fd);
    const before = blocks();
    expect(rig.ask({ type: RequestType.discard, out: ranges([0, 64], [128, 64]) }).status).toBe(Status.ok);
    expect(before - blocks()).toBeGreaterThanOrEqual(128);
    expect(Buffer.compare(readFileSync(path).subarray(64 * 512, 128 * 512), at(64, 64 * 512))).toBe(0);
  });

  test.each([
    ['and gives the space back', 1],
    ['and keeps the space', 0],
  ])('zeroes are written %s', (_name, flags) => {
    using rig = new BlockRig(fd);
    const before = blocks();
    expect(rig.ask({ type: RequestType.writeZeroes, out: ranges([8, 64, flags]) }).status).toBe(Status.ok);
    expect(rig.read(8, 64 * 512).data.every((byte) => byte === 0)).toBe(true);
    expect(Buffer.compare(rig.read(72, 512).data, at(72, 512))).toBe(0);
    expect(before - blocks() >= 64).toBe(flags === 1);
  });

  test('where the file system cannot, zeroes are written as such and a discard is nothing', () => {
    using rig = new BlockRig(fd);
    rig.io.intercept = ({ name }) => (name === 'fallocate' ? -95 : undefined);
    expect(rig.ask({ type: RequestType.discard, out: ranges([0, 8]) }).status).toBe(Status.ok);
    expect(rig.ask({ type: RequestType.writeZeroes, out: ranges([0, SECTORS, 1]) }).status).toBe(Status.ok);
    expect(readFileSync(path).every((byte) => byte === 0)).toBe(true);
    const asked = rig.io.begun.filter(({ name }) => name === 'fallocate').length;
    expect(rig.ask({ type: RequestType.writeZeroes, out: ranges([0, 8]) }).status).toBe(Status.ok);
    expect(rig.io.begun.filter(({ name }) => name === 'fallocate')).toHaveLength(asked);
  });

  test.each([
    ['no range', new Uint8Array(), Status.ioError],
    ['part of a range', ranges([0, 8]).subarray(0, 15), Status.ioError],
    ['too many ranges', ranges(...Array.from({ length: 33 }, () => [0, 1] as const)), Status.ioError],
    ['a range past the end', ranges([SECTORS - 1, 2]), Status.ioError],
    ['a good range and a bad one', ranges([0, 8], [2n ** 64n - 1n, 1]), Status.ioError],
    ['a range that is too long', ranges([0, 2 ** 22 + 1]), Status.ioError],
    ['an unknown flag', ranges([0, 8, 2]), Status.unsupported],
  ])('refuses %s', (_name, out, status) => {
    using rig = new BlockRig(fd);
    expect(rig.ask({ type: RequestType.writeZeroes, out }).status).toBe(status);
    expect(rig.ask({ type: RequestType.discard, out }).status).toBe(status);
    expect(rig.io.begun).toEqual([]);
    expect(Buffer.compare(readFileSync(path), content)).toBe(0);
  });

  test('a discard with the flag of WRITE_ZEROES is not supported, nor one that is not offered', () => {
    using rig = new BlockRig(fd);
    expect(rig.ask({ type: RequestType.discard, out: ranges([0, 8, 1]) }).status).toBe(Status.unsupported);
    using keeping = new BlockRig(fd, { discard: false });
    expect(keeping.ask({ type: RequestType.discard, out: ranges([0, 8]) }).status).toBe(Status.unsupported);
    expect(keeping.ask({ type: RequestType.writeZeroes, out: ranges([0, 8, 1]) }).status).toBe(Status.ok);
    expect(keeping.io.begun.map(({ name }) => name)).toEqual(['fallocate']);
  });
});

describe('stable storage', () => {
  const names = (rig: BlockRig): readonly string[] => rig.io.begun.map(({ name }) => name);

  test('a flush ends after a sync that began when the writes before it had ended', () => {
    using rig = new BlockRig(fd);
    rig.write(0, pattern(512));
    const flush = rig.send({ type: RequestType.flush });
    rig.begin();
    expect(rig.answer(flush)).toBeUndefined();
    rig.run();
    expect(rig.answer(flush)?.status).toBe(Status.ok);
    expect(names(rig)).toEqual(['write', 'fdatasync']);
  });

  test('with the cache off a write ends after a sync', () => {
    using rig = new BlockRig(fd);
    rig.writeConfig(32, 0);
    expect(rig.write(0, pattern(512)).status).toBe(Status.ok);
    expect(rig.ask({ type: RequestType.writeZeroes, out: ranges([0, 8]) }).status).toBe(Status.ok);
    expect(names(rig)).toEqual(['write', 'fdatasync', 'fallocate', 'fdatasync']);
    rig.writeConfig(32, 1);
    rig.write(0, pattern(512));
    expect(names(rig)).toHaveLength(5);
  });

  test('so it does for a driver that cannot flush', () => {
    using rig = new BlockRig(fd);
    rig.features = 0n;
    rig.device.started();
    rig.write(0, pattern(512));
    expect(names(rig)).toEqual(['write', 'fdatasync']);
  });

  test('the driver changes nothing else of the configuration', () => {
    using rig = new BlockRig(fd);
    const before = rig.config.slice();
    rig.writeConfig(0, 1, 2, 3, 4, 5, 6, 7, 8);
    expect(rig.config).toEqual(before);
    rig.features = 0n;
    rig.writeConfig(32, 0);
    expect(rig.config).toEqual(before);
  });

  test('once a sync has failed, none succeeds: what was lost cannot be written again', () => {
    using rig = new BlockRig(fd, { direct: false });
    rig.io.intercept = ({ name }) => (name === 'fdatasync' ? -5 : undefined);
    expect(rig.ask({ type: RequestType.flush }).status).toBe(Status.ioError);
    rig.io.intercept = () => undefined;
    expect(rig.ask({ type: RequestType.flush }).status).toBe(Status.ioError);
    expect(rig.stats.errors).toBe(2);
  });
});

describe('long reads through the page cache', () => {
  const cached = { direct: false };
  /** Not one segment: the second of two. */
  const split = [16, 4096, DISK_BYTES - 4096, 1];
  const send = (rig: BlockRig, room = DISK_BYTES, parts?: readonly number[]): number =>
    rig.send({ type: RequestType.in, room, ...(parts === undefined ? {} : { split: parts }) });
  const asides = (rig: BlockRig): readonly boolean[] => rig.io.begun.map(({ aside }) => aside);

  test('all but the last one that is there go to other threads', () => {
    using rig = new BlockRig(fd, cached);
    const heads = [send(rig), send(rig, DISK_BYTES, split), send(rig)];
    rig.run();
    // Where io_uring cannot copy at once (a /tmp in memory), that one would keep nobody from its work either.
    const last = !readsAtOnce(fd);
    expect(asides(rig)).toEqual([true, true, last]);
    for (const head of heads) expect(Buffer.compare(rig.answer(head)?.data ?? new Uint8Array(), content)).toBe(0);
    send(rig);
    rig.run();
    expect(asides(rig)).toEqual([true, true, last, last]);
  });

  test('where io_uring cannot copy at once, all of them go', () => {
    const memory = memfdCreate('disk', { size: DISK_BYTES });
    using _memory = { [Symbol.dispose]: () => closeSync(memory) };
    expect(readsAtOnce(memory)).toBe(false);
    using rig = new BlockRig(memory, cached);
    for (let i = 0; i < 2; i++) send(rig);
    rig.run();
    expect(asides(rig)).toEqual([true, true]);
  });

  test('short ones do not, nor do those past the page cache', () => {
    using rig = new BlockRig(fd, cached);
    for (let i = 0; i < 3; i++) send(rig, DISK_BYTES - 512);
    rig.run();
    using direct = new BlockRig(fd);
    for (let i = 0; i < 3; i++) send(direct);
    direct.run();
    expect([...asides(rig), ...asides(direct)]).toEqual(new Array(6).fill(false));
  });

  test('one that waits for the next counts as in flight', () => {
    using rig = new BlockRig(fd, cached, new FakeIo(2));
    const heads = [send(rig), send(rig), send(rig)];
    rig.begin();
    expect(rig.io.inFlight).toBe(2);
    rig.run();
    for (const head of heads) expect(rig.answer(head)?.status).toBe(Status.ok);
  });

  test('an error of one is told for that one only', () => {
    using rig = new BlockRig(fd, cached);
    const heads = [send(rig), send(rig), send(rig)];
    let nth = 0;
    rig.io.intercept = () => (nth++ === 1 ? -5 : undefined);
    rig.run();
    expect(heads.map((head) => rig.answer(head)?.status)).toEqual([Status.ok, Status.ioError, Status.ok]);
  });

  test('one that ends early goes on where it ended', () => {
    using rig = new BlockRig(fd, cached);
    const heads = [send(rig), send(rig)];
    rig.io.intercept = ({ length, perform }) => (length > 1000 ? perform(length / 2) : undefined);
    rig.run();
    for (const head of heads) expect(Buffer.compare(rig.answer(head)?.data ?? new Uint8Array(), content)).toBe(0);
    expect(rig.io.begun.length).toBeGreaterThan(4);
  });

  test('a turn takes a few MiB, so that the driver is told of them before the rest is copied', () => {
    ftruncateSync(fd, 2 ** 20);
    using rig = new BlockRig(fd, cached);
    const heads = Array.from({ length: 6 }, () => send(rig, 2 ** 20 - 512));
    rig.begin();
    expect(rig.io.inFlight).toBe(5);
    rig.run();
    for (const head of heads) expect(rig.answer(head)?.status).toBe(Status.ok);
  });
});

test('a turn takes one long write, so that the driver is told of it before the next is copied', () => {
  ftruncateSync(fd, 4 * 2 ** 20);
  using rig = new BlockRig(fd, { direct: false });
  const heads = [0, 1, 2].map((i) =>
    rig.send({ type: RequestType.out, sector: i * 2048, out: new Uint8Array(2 ** 20) }),
  );
  rig.begin();
  expect(rig.stats.writes).toBe(1);
  rig.run();
  for (const head of heads) expect(rig.answer(head)?.status).toBe(Status.ok);
});

describe('what the kernel answers', () => {
  test('an error is told to the driver, and the next request is served', () => {
    using rig = new BlockRig(fd);
    rig.io.intercept = () => -5;
    expect(rig.read(0, 512).status).toBe(Status.ioError);
    expect(rig.write(0, pattern(512)).status).toBe(Status.ioError);
    rig.io.intercept = () => undefined;
    expect(rig.read(0, 512).status).toBe(Status.ok);
    expect(rig.stats.errors).toBe(2);
  });

  test.each([
    ['EINTR', -4],
    ['EAGAIN', -11],
  ])('%s is tried again, a while', (_name, result) => {
    using rig = new BlockRig(fd);
    let times = 3;
    rig.io.intercept = () => (times-- > 0 ? result : undefined);
    expect(Buffer.compare(rig.read(2, 1024).data, at(2, 1024))).toBe(0);
    rig.io.intercept = () => result;
    expect(rig.read(2, 1024).status).toBe(Status.ioError);
  });

  test('short reads and writes go on where they ended', () => {
    using rig = new BlockRig(fd);
    rig.io.intercept = ({ name, length, perform }) =>
      (name === 'read' || name === 'write') && length > 100 ? perform(100) : undefined;
    const data = pattern(2048, 13);
    expect(rig.write(7, data).status).toBe(Status.ok);
    expect(Buffer.compare(rig.read(7, 2048).data, data)).toBe(0);
  });

  test('so they do in the middle of segments', () => {
    using rig = new BlockRig(fd);
    const data = pattern(2048, 17);
    let first = true;
    rig.io.intercept = ({ name }) => {
      // What a kernel that stops within the second segment says, of a write that reached the file.
      if (name !== 'writev' || !first) return undefined;
      first = false;
      return 0 + 700;
    };
    rig.ask({ type: RequestType.out, sector: 7, out: data, split: [16, 512, 512, 1024] });
    expect(Buffer.compare(readFileSync(path).subarray(7 * 512 + 700, 11 * 512), data.subarray(700))).toBe(0);
  });

  test('a write that writes nothing is an error', () => {
    using rig = new BlockRig(fd);
    rig.io.intercept = () => 0;
    expect(rig.write(0, pattern(512)).status).toBe(Status.ioError);
  });
});

describe('changes while it runs', () => {
  test('a larger disk is told to the driver and can be used', async () => {
    using rig = new BlockRig(fd);
    expect(await rig.device.handle('resize', { capacity: DISK_BYTES * 2 })).toEqual({ capacity: DISK_BYTES * 2 });
    expect([rig.capacity, rig.configChanges]).toEqual([DISK_BYTES * 2, 1]);
    expect(rig.write(SECTORS * 2 - 1, pattern(512)).status).toBe(Status.ok);
    rig.writeConfig(0, 9);
    expect(rig.capacity).toBe(DISK_BYTES * 2);
  });

  test.each([
    ['a smaller size', { capacity: 512 }],
    ['part of a sector', { capacity: DISK_BYTES + 100 }],
    ['no size', { capacity: '1G' }],
    ['nothing', undefined],
  ])('%s is refused', async (_name, params) => {
    using rig = new BlockRig(fd);
    await expect(rig.device.handle('resize', params)).rejects.toMatchObject({ code: 'VMM_ERR_DISK_RESIZE' });
    expect([rig.capacity, rig.configChanges, fstatSync(fd).size]).toEqual([DISK_BYTES, 0, DISK_BYTES]);
  });

  test('a smaller disk, if that is meant', async () => {
    using rig = new BlockRig(fd);
    await rig.device.handle('resize', { capacity: 512, shrink: true });
    expect(rig.capacity).toBe(512);
    expect(rig.read(1, 512).status).toBe(Status.ioError);
  });

  test('other code takes over when nothing is in flight, with the cache as the driver set it', async () => {
    using rig = new BlockRig(fd);
    rig.writeConfig(32, 0);
    const head = rig.send({ type: RequestType.in, sector: 4, room: 512 });
    rig.begin();
    const replaced = rig.replace();
    expect(rig.answer(head)).toBeUndefined();
    rig.run();
    await replaced;
    expect(Buffer.compare(rig.answer(head)?.data ?? new Uint8Array(), at(4, 512))).toBe(0);
    rig.write(0, pattern(512));
    expect(rig.io.begun.map(({ name }) => name)).toEqual(['read', 'write', 'fdatasync']);
    expect(rig.stats).toMatchObject({ reads: 1, writes: 1 });
    rig.device.reset();
    expect(rig.config[32]).toBe(1);
  });
});
