// Compressed clusters: docs/interop/qcow2 "Compressed Clusters Descriptor". What follows the compressed data in its last
// sector belongs to something else, and a cluster that unpacks to more or less than a cluster is damaged.

import { createRequire } from 'node:module';
import type { ImageFile } from '../image-file.ts';
import type { CompressedExtent } from './mapping-tables.ts';

type Zlib = typeof import('node:zlib');

let zlib: Zlib | undefined;
/** Loaded with the first compressed cluster: most images have none. */
function loadZlib(): Zlib {
  zlib ??= createRequire(import.meta.url)('node:zlib') as Zlib;
  return zlib;
}

/** Clusters that are kept unpacked, so that reading through one in small steps does not unpack it each time. */
const KEPT = 4;

interface Kept {
  cluster: number;
  bytes: Uint8Array | undefined;
}

export class Decompressor {
  readonly #file: ImageFile;
  readonly #clusterSize: number;
  readonly #compression: 'zlib' | 'zstd';
  readonly #kept: Kept[] = Array.from({ length: KEPT }, () => ({ cluster: -1, bytes: undefined }));
  #next = 0;

  constructor(file: ImageFile, clusterSize: number, compression: 'zlib' | 'zstd') {
    this.#file = file;
    this.#clusterSize = clusterSize;
    this.#compression = compression;
  }

  /** @returns the cluster's bytes, to be read at once; `undefined` when they cannot be unpacked */
  cluster(cluster: number, extent: CompressedExtent): Uint8Array | undefined {
    const known = this.#kept.find((slot) => slot.cluster === cluster);
    if (known !== undefined) return known.bytes;
    const packed = Buffer.alloc(extent.length);
    const bytes = this.#unpack(packed.subarray(0, this.#file.read(packed, extent.offset)));
    const slot = this.#kept[this.#next] as Kept;
    this.#next = (this.#next + 1) % KEPT;
    slot.cluster = cluster;
    slot.bytes = bytes;
    return bytes;
  }

  /** The cluster is another one now. */
  forget(cluster: number): void {
    for (const slot of this.#kept) if (slot.cluster === cluster) slot.cluster = -1;
  }

  #unpack(packed: Uint8Array): Uint8Array | undefined {
    try {
      const limit = { maxOutputLength: this.#clusterSize };
      const bytes =
        this.#compression === 'zlib'
          ? loadZlib().inflateRawSync(packed, limit)
          : loadZlib().zstdDecompressSync(packed.subarray(0, zstdFrameLength(packed)), limit);
      return bytes.length === this.#clusterSize ? bytes : undefined;
    } catch {
      return undefined;
    }
  }
}

/** RFC 8878 §3.1.1: where the first frame ends; the length of all when that cannot be told. */
export function zstdFrameLength(bytes: Uint8Array): number {
  const MAGIC_BYTES = 4;
  const descriptor = bytes[MAGIC_BYTES] ?? 0;
  const singleSegment = (descriptor >> 5) & 1;
  const contentSize = [singleSegment, 2, 4, 8][descriptor >> 6] as number;
  const dictionary = [0, 1, 2, 4][descriptor & 3] as number;
  let at = MAGIC_BYTES + 1 + (1 - singleSegment) + dictionary + contentSize;
  for (;;) {
    if (at + 3 > bytes.length) return bytes.length;
    const header = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
    // A run-length block holds one byte, whatever its size says.
    at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
    if ((header & 1) === 1) return Math.min(bytes.length, at + ((descriptor >> 2) & 1) * 4);
  }
}
