// The kernel in a bzImage: Documentation/arch/x86/boot.rst of the kernel, "The Real-Mode Kernel Header". QEMU starts an
// uncompressed one at once, while the stub in a bzImage unpacks it in the guest, which takes seconds under emulation.

import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { errors } from '../errors.ts';
import { isElf } from './elf.ts';
import { run } from './tool.ts';

/** The compressed kernel in a bzImage. */
export interface Payload {
  readonly format: 'gzip' | 'xz' | 'zstd' | 'lz4' | 'bzip2' | 'none';
  /** Without the size that the kernel's build appends. */
  readonly bytes: Buffer;
}

const SETUP_SECTORS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const MAGIC = 0x202;
const VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_END = 0x250;
const SECTOR_BYTES = 512;
/** Much more than any kernel has, and little enough not to harm whoever unpacks a hostile one. */
const KERNEL_MAX_BYTES = 512 * 1024 * 1024;

const MAGICS = [
  ['gzip', [0x1f, 0x8b]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['none', [0x7f, 0x45, 0x4c, 0x46]],
] as const;

/** Why a file is no bzImage, as a sentence; else what is in it. */
export function parseBzImage(image: Buffer): Payload | string {
  if (image.length < HEADER_END) return 'it is too short for a kernel';
  if (image.readUInt16LE(BOOT_FLAG) !== 0xaa55 || image.toString('latin1', MAGIC, MAGIC + 4) !== 'HdrS') {
    return 'it has no boot header';
  }
  const version = image.readUInt16LE(VERSION);
  if (version < 0x208) return `its boot protocol ${version >> 8}.${version & 0xff} does not tell where the kernel is`;
  // Zero means four, for the sake of kernels older than this field.
  const start = ((image[SETUP_SECTORS] || 4) + 1) * SECTOR_BYTES + image.readUInt32LE(PAYLOAD_OFFSET);
  const length = image.readUInt32LE(PAYLOAD_LENGTH);
  if (length < 16 || start + length > image.length) return 'the kernel in it lies past its end';
  const bytes = image.subarray(start, start + length);
  for (const [format, magic] of MAGICS) {
    if (!magic.every((byte, i) => bytes[i] === byte)) continue;
    // Only gzip and an uncompressed kernel are as they are; all others have the unpacked size behind them.
    const whole = format === 'gzip' || format === 'none';
    return { format, bytes: whole ? bytes : bytes.subarray(0, length - 4) };
  }
  return 'the kernel in it is compressed in a way that is not known (LZMA and LZO are not supported)';
}

/**
 * The ELF file of a kernel, given that file or a bzImage.
 * @param file how it is called in an error
 * @param limit most bytes it may unpack to
 * @throws SDK_ERR_IMAGE_KERNEL for what is neither; SDK_ERR_IMAGE_TOOL for one in xz, lz4 or bzip2 without that command
 */
export async function uncompressKernel(image: Buffer, file: string, limit = KERNEL_MAX_BYTES): Promise<Buffer> {
  if (isElf(image)) return image;
  const payload = parseBzImage(image);
  if (typeof payload === 'string') throw errors.SDK_ERR_IMAGE_KERNEL({ details: { file, why: payload } });
  const refuse = (why: string, cause?: unknown) =>
    errors.SDK_ERR_IMAGE_KERNEL({ details: { file, why }, ...(cause === undefined ? {} : { cause }) });
  let kernel: Buffer;
  try {
    kernel = await unpack(payload, limit);
  } catch (e) {
    if ((e as { code?: string }).code === 'SDK_ERR_IMAGE_TOOL') throw e;
    throw refuse(`the kernel in it does not unpack (${payload.format}): ${(e as Error).message}`, e);
  }
  if (!isElf(kernel)) throw refuse('what it unpacks to is no ELF file of 64 bits');
  return kernel;
}

async function unpack({ format, bytes }: Payload, limit: number): Promise<Buffer> {
  const maxOutputLength = limit;
  switch (format) {
    case 'none':
      return bytes;
    case 'gzip':
      return promisify(gunzip)(bytes, { maxOutputLength });
    case 'zstd':
      return promisify(zstdDecompress)(bytes, { maxOutputLength });
    default:
      return run(format, ['-dc'], { what: 'unpacking a kernel', input: bytes, limit });
  }
}
