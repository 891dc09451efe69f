// Zip files, sound ones and what a stranger may send.

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
import { crc32, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { importZip } from './import.ts';

const NAME = 'dGVybWluYQ==.img';
const MAX_BYTES = 2 ** 20;

let folder = '';
let target = -1;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'zip-import-'));
  target = openSync(join(folder, 'disk'), 'w+');
});
afterAll(() => {
  closeSync(target);
  rmSync(folder, { recursive: true });
});

const u16 = (...values: readonly number[]): Buffer =>
  Buffer.concat(values.map((value) => Buffer.of(value & 0xff, value >> 8)));
function u32(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(4 * values.length);
  // Of a number that does not fit, its lower half.
  for (const [at, value] of values.entries()) out.writeUInt32LE(value % 2 ** 32, 4 * at);
  return out;
}
function u64(...values: readonly number[]): Buffer {
  const out = Buffer.alloc(8 * values.length);
  for (const [at, value] of values.entries()) out.writeBigUInt64LE(BigInt(value), 8 * at);
  return out;
}

interface Wish {
  readonly name?: string;
  readonly method?: number;
  readonly flags?: number;
  /** Numbers in fields of 64 bits, as of a disk of more than 4 GiB. */
  readonly wide?: boolean;
  readonly files?: number;
  readonly declared?: number;
  readonly comment?: string;
}

const CONTENT = Buffer.concat([Buffer.from('disk'), Buffer.alloc(300_000), Buffer.from('end')]);

/** As the format says; sizes of the file itself come behind it, as of who writes into a pipe. */
function zip({
  name = NAME,
  method = 8,
  flags = 8,
  wide = false,
  files = 1,
  declared,
  comment = '',
}: Wish = {}): Buffer {
  const packed = method === 8 ? deflateRawSync(CONTENT) : CONTENT;
  const bytes = declared ?? CONTENT.length;
  const sum = crc32(CONTENT);
  const local = Buffer.concat([
    u32(0x0403_4b50),
    u16(45, flags, method, 0, 0),
    u32(0, 0, 0),
    u16(name.length, 0),
    Buffer.from(name),
  ]);
  const data = Buffer.concat([local, packed, u32(0x0807_4b50, sum, packed.length, bytes)]);
  const extra = wide
    ? Buffer.concat([u16(0x5455, 1), Buffer.of(0), u16(1, 24), u64(bytes, packed.length, 0)])
    : Buffer.alloc(0);
  const sizes = wide ? u32(0xffff_ffff, 0xffff_ffff) : u32(packed.length, bytes);
  const header = Buffer.concat([
    ...[u32(0x0201_4b50), u16(45, 45, flags, method, 0, 0), u32(sum), sizes, u16(name.length, extra.length, 0, 0, 0)],
    ...[u32(0, wide ? 0xffff_ffff : 0), Buffer.from(name), extra],
  ]);
  const end64 = Buffer.concat([
    ...[u32(0x0606_4b50), u64(44), u16(45, 45), u32(0, 0), u64(files, files, header.length, data.length)],
    ...[u32(0x0706_4b50, 0), u64(data.length + header.length), u32(1)],
  ]);
  const end = wide
    ? [end64, u32(0x0605_4b50), u16(0, 0, 0xffff, 0xffff), u32(0xffff_ffff, 0xffff_ffff)]
    : [u32(0x0605_4b50), u16(0, 0, files, files), u32(header.length, data.length)];
  return Buffer.concat([data, header, ...end, u16(comment.length), Buffer.from(comment)]);
}

async function unpack(bytes: Uint8Array): Promise<number> {
  const path = join(folder, 'disk.zip');
  writeFileSync(path, bytes);
  const source = openSync(path, 'r');
  ftruncateSync(target, 0);
  try {
    return await importZip(source, target, { name: NAME, maxBytes: MAX_BYTES, progress() {} });
  } finally {
    closeSync(source);
  }
}

test.each([
  ['deflated', {}],
  ['stored', { method: 0 }],
  ['with numbers of 64 bits', { wide: true }],
  ['with a comment', { comment: 'PK\x05\x06 and more' }],
] as const)('%s it is the disk', async (_what, wish) => {
  expect(await unpack(zip(wish))).toBe(303_104);
  const disk = readFileSync(join(folder, 'disk'));
  expect(disk.length).toBe(303_104);
  expect(disk.subarray(0, CONTENT.length).equals(CONTENT)).toBe(true);
  expect(fstatSync(target).blocks * 512).toBeLessThan(200_000);
});

const good = zip();
const CORPUS: readonly (readonly [what: string, bytes: Buffer, why: RegExp])[] = [
  ['another name', zip({ name: 'ZGV2.img' }), /is called "ZGV2.img"/],
  ['a path', zip({ name: `../${NAME}` }), /is called/],
  ['several files', zip({ files: 2 }), /2 files are in it/],
  ['none', zip({ files: 0 }), /0 files are in it/],
  ['an encrypted one', zip({ flags: 9 }), /encrypted/],
  ['bzip2', zip({ method: 12 }), /neither stored nor deflated/],
  ['more than it says', zip({ declared: 4096 }), /too large/],
  ['less than it says', zip({ declared: 400_000 }), /damaged/],
  ['a disk that is too large', zip({ wide: true, declared: 2 ** 50 }), /at most/],
  ['no end', good.subarray(0, good.length - 1), /no end/],
  ['only an end', good.subarray(good.length - 22), /lies outside/],
  ['nothing', Buffer.alloc(0), /no end/],
];
test.each(CORPUS)('%s is refused', async (_what, bytes, why) => {
  await expect(unpack(bytes)).rejects.toMatchObject({
    ...{ code: expect.stringMatching(/^CROSTINI_ERR_DISK_(IMAGE|SIZE)$/), message: expect.stringMatching(why) },
  });
});

test('whatever is changed, it is the disk, or refused with a code', async () => {
  const [wide, narrow] = [zip({ wide: true }), zip({ method: 0 })];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(good, wide, narrow),
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      fc.option(fc.tuple(fc.nat(400), fc.nat(400)), { freq: 4 }),
      async (from, changes, atEnd, cut) => {
        let bytes = Buffer.from(from);
        for (const [at, value] of changes) bytes[atEnd ? Math.max(0, bytes.length - 1 - at) : at] = value;
        if (cut !== null) bytes = Buffer.concat([bytes.subarray(0, cut[0]), bytes.subarray(cut[1])]);
        try {
          const size = await unpack(bytes);
          expect(size).toBe(303_104);
          expect(readFileSync(join(folder, 'disk')).subarray(0, CONTENT.length).equals(CONTENT)).toBe(true);
        } catch (e) {
          expect(e).toMatchObject({ code: expect.stringMatching(/^CROSTINI_ERR_DISK_(IMAGE|SIZE)$/) });
        }
      },
    ),
    { numRuns: 400 },
  );
});
