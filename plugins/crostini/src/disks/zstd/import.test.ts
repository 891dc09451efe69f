// What a stranger may send: files that are changed, cut, put together wrongly.

import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { constants, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { METADATA_MAGIC, metadataFrame, parseMetadata, SeekTable, skippableFrame } from './format.ts';
import { FrameReader } from './frames.ts';
import { type Imported, importZstd } from './import.ts';

const MAX_BYTES = 2 ** 20;

let folder = '';
let target = -1;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'zstd-import-'));
  target = openSync(join(folder, 'disk'), 'w+');
});
afterAll(() => {
  closeSync(target);
  rmSync(folder, { recursive: true });
});

const pattern = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, at) => (at * at) % 251));
const checked = (bytes: Uint8Array): Buffer =>
  zstdCompressSync(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });

function container(): Buffer {
  const frames = [zstdCompressSync(pattern(5000)), checked(Buffer.alloc(131_072)), checked(pattern(300))];
  const all = [...frames, skippableFrame(0x184d_2a50, pattern(20)), metadataFrame('baguette')];
  const table = new SeekTable();
  for (const frame of all) table.add(frame.length, 0);
  return Buffer.concat([...all, ...Array.from(table.encode(), (piece) => Buffer.from(piece))]);
}

async function unpack(chunks: readonly Uint8Array[]): Promise<Imported> {
  ftruncateSync(target, 0);
  return await importZstd(Readable.from(chunks), target, { maxBytes: MAX_BYTES, progress() {} });
}

function split(bytes: Buffer, length: number): readonly Uint8Array[] {
  return Array.from({ length: Math.ceil(bytes.length / length) }, (_, at) =>
    bytes.subarray(at * length, (at + 1) * length),
  );
}

test.each([1, 3, 1000, 1_000_000])('in pieces of %d bytes it is the same', async (length) => {
  expect(await unpack(split(container(), length))).toEqual({ bytes: 139_264, type: 'baguette' });
  const disk = readFileSync(join(folder, 'disk'));
  const expected = Buffer.concat([pattern(5000), Buffer.alloc(131_072), pattern(300)]);
  expect(disk.subarray(0, expected.length).equals(expected)).toBe(true);
});

const CORPUS: readonly (readonly [what: string, bytes: Buffer, why: RegExp])[] = [
  ['nothing', Buffer.alloc(0), /it is empty/],
  ['a short magic', Buffer.from('28b5', 'hex'), /empty/],
  ['another format', Buffer.from('PK\x03\x04 zip'), /does not begin as zstd/],
  ['an old format of zstd', Buffer.from('27b52ffd00000000', 'hex'), /does not begin as zstd/],
  ['only what is passed over', skippableFrame(0x184d_2a51, pattern(100)), /./],
  ['a skippable frame that is cut', skippableFrame(0x184d_2a51, pattern(100)).subarray(0, 50), /too early/],
  ['a skippable frame of 4 GiB', Buffer.from('502a4d18ffffffff00', 'hex'), /too early/],
  ['metadata of 4 GiB', Buffer.from('552a4d18ffffffff00', 'hex'), /too early/],
  ['a frame of no block', Buffer.from('28b52ffd2000', 'hex'), /too early/],
  ['a reserved bit', Buffer.from('28b52ffd0800000000', 'hex'), /reserved/],
  ['a reserved block', Buffer.from('28b52ffd0000070000', 'hex'), /reserved/],
  ['a block that is too long', Buffer.from('28b52ffd00000980ff', 'hex'), /too long/],
  ['a dictionary', Buffer.from('28b52ffd2101000100', 'hex'), /./],
  ['a window of 2 EiB', Buffer.from('28b52ffd00ff010000', 'hex'), /./],
  ['something after the last frame', Buffer.concat([container(), Buffer.from('junk')]), /none/],
  ['a cut container', container().subarray(0, 100), /too early/],
];
test.each(CORPUS)('%s is refused', async (_what, bytes, why) => {
  await expect(unpack(split(bytes, 7))).rejects.toMatchObject({
    ...{ code: 'CROSTINI_ERR_DISK_IMAGE', message: expect.stringMatching(why) },
  });
});

test('one that declares little and becomes much is stopped', async () => {
  const frame = zstdCompressSync(Buffer.alloc(2 ** 19));
  await expect(unpack(Array.from({ length: 1000 }, () => frame))).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_SIZE',
  });
  expect(fstatSync(target).size).toBeLessThanOrEqual(MAX_BYTES);
});

test('whatever is changed, it is a disk within bounds, or refused with a code', async () => {
  const good = container();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.option(fc.tuple(fc.nat(good.length), fc.nat(good.length)), { freq: 2 }),
      fc.integer({ min: 1, max: good.length }),
      async (changes, cut, length) => {
        let bytes = Buffer.from(good);
        for (const [at, value] of changes) bytes[at] = value;
        if (cut !== null) bytes = Buffer.concat([bytes.subarray(0, cut[0]), bytes.subarray(cut[1])]);
        try {
          const { bytes: size } = await unpack(split(bytes, length));
          expect(size).toBeLessThanOrEqual(MAX_BYTES);
          expect(size % 4096).toBe(0);
        } catch (e) {
          expect(e).toMatchObject({ code: expect.stringMatching(/^CROSTINI_ERR_DISK_(IMAGE|SIZE)$/) });
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('the reader of frames takes any bytes, and lets no skippable frame through', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (chunks) => {
      const reader = new FrameReader(() => {});
      try {
        for (const chunk of chunks) for (const piece of reader.push(chunk)) expect(piece.length).toBeGreaterThan(0);
        reader.end();
      } catch (e) {
        expect(e).toMatchObject({ code: 'CROSTINI_ERR_DISK_IMAGE' });
      }
    }),
  );
});

test('metadata is that of ChromeOS, or says nothing', () => {
  const frame = metadataFrame('termina');
  expect(frame.length).toBe(47);
  expect(frame.readUInt32LE(0)).toBe(METADATA_MAGIC);
  expect(parseMetadata(frame.subarray(8))).toBe('termina');
  expect(parseMetadata(Buffer.from('CROSVMEXPMETA\0user.crostini.vm_type\x005\0'))).toBe('unknown');
  expect(parseMetadata(Buffer.from('CROSVMEXPMETA\0user.other\x005\0'))).toBeUndefined();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(['termina', 'baguette', 'unknown', undefined]).toContain(parseMetadata(bytes));
    }),
  );
});
