import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { parseBzImage, uncompressKernel } from './bz-image.ts';
import { makeElf, spoiled } from './test-elf.ts';

const elf = makeElf([{ name: '.text', bytes: Buffer.alloc(4096, 0x90) }]);

function bzImage(payload: Buffer, change: (image: Buffer) => void = () => {}): Buffer {
  const setupSectors = 3;
  const offset = 0x40;
  const image = Buffer.alloc((setupSectors + 1) * 512 + offset + payload.length + 100);
  image[0x1f1] = setupSectors;
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.write('HdrS', 0x202);
  image.writeUInt16LE(0x20f, 0x206);
  image.writeUInt32LE(offset, 0x248);
  image.writeUInt32LE(payload.length, 0x24c);
  payload.copy(image, (setupSectors + 1) * 512 + offset);
  change(image);
  return image;
}

const sized = (bytes: Buffer): Buffer => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(elf.length);
  return Buffer.concat([bytes, size]);
};

test.each([
  ['gzip', gzipSync(elf)],
  ['zstd', sized(zstdCompressSync(elf))],
  ['none', elf],
])('a kernel in %s comes out as it went in', async (format, payload) => {
  const image = bzImage(payload);
  expect(parseBzImage(image)).toMatchObject({ format });
  expect((await uncompressKernel(image, 'x')).equals(elf)).toBe(true);
});

test('an ELF file is left as it is', async () => {
  expect(await uncompressKernel(elf, 'x')).toBe(elf);
});

test('old boot protocols count no sectors as four', () => {
  const packed = sized(zstdCompressSync(elf));
  const image = bzImage(Buffer.concat([packed, Buffer.alloc(4096)]), (i) => {
    i[0x1f1] = 0;
    i.writeUInt32LE(0, 0x248);
    i.writeUInt32LE(packed.length, 0x24c);
    packed.copy(i, 5 * 512);
  });
  expect(parseBzImage(image)).toMatchObject({ format: 'zstd' });
});

test.each<[string, Buffer, RegExp]>([
  ['too short', Buffer.alloc(100), /too short/],
  ['zeroes', Buffer.alloc(4096), /no boot header/],
  ['an old protocol', bzImage(elf, (i) => i.writeUInt16LE(0x207, 0x206)), /boot protocol 2\.7/],
  ['an offset past the end', bzImage(elf, (i) => i.writeUInt32LE(0xffffffff, 0x248)), /past its end/],
  ['a length past the end', bzImage(elf, (i) => i.writeUInt32LE(0x7fffffff, 0x24c)), /past its end/],
  ['a length of nothing', bzImage(elf, (i) => i.writeUInt32LE(0, 0x24c)), /past its end/],
  ['another compression', bzImage(Buffer.alloc(64, 0x5d)), /not known/],
  ['a broken payload', bzImage(sized(zstdCompressSync(elf).subarray(0, 40))), /does not unpack \(zstd\)/],
  ['a payload that is no kernel', bzImage(gzipSync(Buffer.alloc(1000))), /no ELF file/],
])('%s is refused, saying why', async (_, image, why) => {
  await expect(uncompressKernel(image, 'image')).rejects.toMatchObject({
    code: 'SDK_ERR_IMAGE_KERNEL',
    message: expect.stringMatching(why),
  });
});

test('a payload that unpacks to more than a kernel may have ends early', async () => {
  const bomb = gzipSync(Buffer.alloc(4_000_001));
  await expect(uncompressKernel(bzImage(bomb), 'bomb', 4_000_000)).rejects.toMatchObject({
    code: 'SDK_ERR_IMAGE_KERNEL',
  });
});

test('20,000 spoiled images are told or parsed, never more', () => {
  const image = bzImage(gzipSync(elf));
  for (const bytes of spoiled(image, 20_000)) {
    const payload = parseBzImage(bytes);
    if (typeof payload !== 'string') expect(payload.bytes.length).toBeLessThanOrEqual(bytes.length);
  }
});
