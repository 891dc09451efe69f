// The header of a qcow2 image: QEMU's docs/interop/qcow2, "Header" and "Header extensions". Nothing of it is believed
// before it was checked against the limits that bound what reading the image can cost.

import { errors } from '../../errors.ts';
import type { ImageFile } from '../image-file.ts';

const MAGIC = 0x514649fb;
const V2_LENGTH = 72;
const V3_LENGTH = 104;
/** With the compression type and its padding. */
const FULL_LENGTH = 112;
const MIN_CLUSTER_BITS = 9;
const MAX_CLUSTER_BITS = 21;
/** QEMU's own limits. */
const MAX_L1_BYTES = 32 * 2 ** 20;
const MAX_REFCOUNT_TABLE_BYTES = 8 * 2 ** 20;
const MAX_BACKING_NAME = 1023;
/** Sizes and offsets are Numbers. */
const MAX_SIZE = 2 ** 53 - 1;

export const INCOMPATIBLE_DIRTY = 1n << 0n;
export const INCOMPATIBLE_CORRUPT = 1n << 1n;
const INCOMPATIBLE_DATA_FILE = 1n << 2n;
const INCOMPATIBLE_COMPRESSION = 1n << 3n;
const INCOMPATIBLE_EXTENDED_L2 = 1n << 4n;
const INCOMPATIBLE_READ = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT | INCOMPATIBLE_COMPRESSION;
const COMPATIBLE_LAZY_REFCOUNTS = 1n << 0n;

const EXTENSION_END = 0;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const EXTENSION_FEATURE_NAMES = 0x6803f857;
const EXTENSION_ENCRYPTION = 0x0537be77;

/** Byte positions of what is changed in place. */
export const HEADER_AT = {
  size: 24,
  l1Size: 36,
  l1Offset: 40,
  refcountTableOffset: 48,
  refcountTableClusters: 56,
  incompatible: 72,
  autoclear: 88,
} as const;

export interface HeaderExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface BackingReference {
  readonly file: string;
  /** `undefined`: the image does not say, and it is not guessed. */
  readonly format: string | undefined;
}

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  /** Of the virtual disk, in bytes. */
  readonly size: number;
  readonly l1Size: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshots: number;
  readonly incompatible: bigint;
  readonly compatible: bigint;
  readonly autoclear: bigint;
  /** 0–6: a refcount has 2^refcountOrder bits. */
  readonly refcountOrder: number;
  readonly compression: 'zlib' | 'zstd';
  readonly backing: BackingReference | undefined;
  /** All that there are, in their order. */
  readonly extensions: readonly HeaderExtension[];
}

/** How much of the file parseHeader needs: the header cluster, of which everything lies in the beginning in practice. */
const HEADER_BYTES = 64 * 1024;

/** True when the bytes begin as a qcow2 image does (any version). */
export function hasQcow2Magic(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && view(bytes).getUint32(0) === MAGIC;
}

/** Reads and checks the header of the file. @throws VMM_ERR_DISK_FORMAT, VMM_ERR_DISK_FEATURE */
export function readHeader(file: ImageFile): Qcow2Header {
  const size = file.size();
  const bytes = new Uint8Array(Math.min(HEADER_BYTES, size));
  return parseHeader(bytes.subarray(0, file.read(bytes, 0)), size, file.name);
}

/**
 * @param bytes the first HEADER_BYTES of the file, or all of it when it is shorter
 * @param fileSize bytes
 * @throws VMM_ERR_DISK_FORMAT, VMM_ERR_DISK_FEATURE
 */
export function parseHeader(bytes: Uint8Array, fileSize: number, image: string): Qcow2Header {
  const refuse = (why: string): never => {
    throw errors.VMM_ERR_DISK_FORMAT({ details: { image, why } });
  };
  const unsupported = (feature: string, hint: string): never => {
    throw errors.VMM_ERR_DISK_FEATURE({ details: { image, feature, hint } });
  };
  if (bytes.length < V2_LENGTH) return refuse('it is shorter than a qcow2 header');
  const data = view(bytes);
  if (data.getUint32(0) !== MAGIC) return refuse('it does not begin as a qcow2 image does');
  const version = data.getUint32(4);
  if (version !== 2 && version !== 3) return refuse(`it is version ${version} of qcow2; 2 and 3 are known`);
  if (version === 3 && bytes.length < V3_LENGTH) return refuse('it ends within its header');

  const number = (at: number, what: string): number => {
    const value = data.getBigUint64(at);
    return value <= BigInt(MAX_SIZE) ? Number(value) : refuse(`its ${what} is ${value}`);
  };
  const clusterBits = data.getUint32(20);
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS)
    return refuse(`its clusters have 2^${clusterBits} bytes; 2^9 to 2^21 are possible`);
  const clusterSize = 2 ** clusterBits;

  const incompatible = version === 3 ? data.getBigUint64(72) : 0n;
  const headerLength = version === 3 ? data.getUint32(100) : V2_LENGTH;
  const limit = Math.min(bytes.length, clusterSize);
  if (headerLength < (version === 3 ? V3_LENGTH : V2_LENGTH) || headerLength % 8 !== 0 || headerLength > limit)
    return refuse(`its header is said to have ${headerLength} bytes`);
  const refcountOrder = version === 3 ? data.getUint32(96) : 4;
  if (refcountOrder > 6) return refuse(`its refcounts have 2^${refcountOrder} bits; 2^6 are the most`);

  const extensions = parseExtensions(bytes, headerLength, limit, refuse);
  const unknown = incompatible & ~INCOMPATIBLE_READ;
  if ((incompatible & INCOMPATIBLE_DATA_FILE) !== 0n)
    return unsupported('an external data file', 'Convert it: qemu-img convert -O qcow2 OLD NEW');
  if ((incompatible & INCOMPATIBLE_EXTENDED_L2) !== 0n)
    return unsupported('extended L2 entries', 'Convert it: qemu-img convert -O qcow2 -o extended_l2=off OLD NEW');
  if (unknown !== 0n)
    return unsupported(
      featureNames(unknown, extensions),
      'Convert it with the program that made it to a qcow2 image without that feature.',
    );
  if (data.getUint32(32) !== 0 || extensions.some(({ type }) => type === EXTENSION_ENCRYPTION))
    return unsupported('encryption', 'Decrypt it with qemu-img convert; encrypt the file system that it lies on.');

  const compressionType = headerLength > V3_LENGTH ? data.getUint8(104) : 0;
  const named = (incompatible & INCOMPATIBLE_COMPRESSION) !== 0n;
  if (named !== (compressionType !== 0)) return refuse('its compression type and the feature bit for it disagree');
  if (compressionType > 1) return unsupported(`compression type ${compressionType}`, 'Convert it to zlib or zstd.');

  const size = number(HEADER_AT.size, 'size');
  const l1Size = data.getUint32(HEADER_AT.l1Size);
  const entriesPerTable = clusterSize / 8;
  if (l1Size * 8 > MAX_L1_BYTES) return refuse(`its L1 table has ${l1Size} entries; ${MAX_L1_BYTES / 8} are the most`);
  if (l1Size < Math.ceil(Math.ceil(size / clusterSize) / entriesPerTable))
    return refuse(`its L1 table has ${l1Size} entries, too few for a disk of ${size} bytes`);
  const table = (at: number, length: number, what: string): number => {
    const offset = number(at, `${what}'s place`);
    if (length === 0) return offset;
    if (offset === 0 || offset % clusterSize !== 0 || offset + length > fileSize)
      return refuse(`its ${what} (at ${offset}, ${length} bytes) lies outside the file or not on a cluster`);
    return offset;
  };
  const l1Offset = table(HEADER_AT.l1Offset, l1Size * 8, 'L1 table');
  const refcountTableClusters = data.getUint32(HEADER_AT.refcountTableClusters);
  if (refcountTableClusters * clusterSize > Math.max(MAX_REFCOUNT_TABLE_BYTES, clusterSize))
    return refuse(`its refcount table has ${refcountTableClusters} clusters`);
  const refcountTableOffset = table(
    HEADER_AT.refcountTableOffset,
    refcountTableClusters * clusterSize,
    'refcount table',
  );

  return {
    version,
    clusterBits,
    size,
    l1Size,
    l1Offset,
    refcountTableOffset,
    refcountTableClusters,
    snapshots: data.getUint32(60),
    incompatible,
    compatible: version === 3 ? data.getBigUint64(80) : 0n,
    autoclear: version === 3 ? data.getBigUint64(88) : 0n,
    refcountOrder,
    compression: compressionType === 1 ? 'zstd' : 'zlib',
    backing: parseBacking(bytes, number(8, "backing file's place"), data.getUint32(16), limit, extensions, refuse),
    extensions,
  };
}

function parseExtensions(
  bytes: Uint8Array,
  from: number,
  limit: number,
  refuse: (why: string) => never,
): HeaderExtension[] {
  const data = view(bytes);
  // They end before the name of the backing file where there is one, else with the cluster.
  const name = data.getBigUint64(8);
  const end = name >= from && name < limit ? Number(name) : limit;
  const found: HeaderExtension[] = [];
  let at = from;
  while (at + 8 <= end) {
    const type = data.getUint32(at);
    const length = data.getUint32(at + 4);
    if (type === EXTENSION_END) break;
    if (length > end - at - 8) return refuse('an extension of its header is longer than there is room');
    found.push({ type, data: bytes.slice(at + 8, at + 8 + length) });
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

function parseBacking(
  bytes: Uint8Array,
  offset: number,
  length: number,
  limit: number,
  extensions: readonly HeaderExtension[],
  refuse: (why: string) => never,
): BackingReference | undefined {
  if (offset === 0) return undefined;
  if (length === 0 || length > MAX_BACKING_NAME) return refuse(`the name of its backing file has ${length} bytes`);
  if (offset + length > limit) return refuse('the name of its backing file lies outside its header');
  const format = extensions.find(({ type }) => type === EXTENSION_BACKING_FORMAT);
  const file = text(bytes.subarray(offset, offset + length));
  if (file === undefined || file.includes('\0')) return refuse('the name of its backing file is no text');
  return { file, format: format === undefined ? undefined : text(format.data) };
}

/** `undefined` for what is no UTF-8: a name that is changed by decoding would name another file. */
function text(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** What the image itself calls the features, bit numbers where it doesn't. */
function featureNames(bits: bigint, extensions: readonly HeaderExtension[]): string {
  const table = extensions.find(({ type }) => type === EXTENSION_FEATURE_NAMES)?.data ?? new Uint8Array();
  const names: string[] = [];
  for (let bit = 0; bit < 64; bit += 1) {
    if (((bits >> BigInt(bit)) & 1n) === 0n) continue;
    let name = `the incompatible feature ${bit}`;
    for (let at = 0; at + 48 <= table.length; at += 48) {
      if (table[at] !== 0 || table[at + 1] !== bit) continue;
      const end = table.subarray(at + 2, at + 48).indexOf(0);
      // Printable characters only: it goes to a terminal.
      name = (text(table.subarray(at + 2, at + 2 + (end < 0 ? 46 : end))) ?? name).replace(/[^ -~]/g, '?');
    }
    names.push(name);
  }
  return names.join(', ');
}

/** What a new image begins with. */
export interface NewHeader {
  readonly clusterBits: number;
  readonly size: number;
  readonly l1Size: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly refcountOrder: number;
  readonly lazyRefcounts?: boolean;
  readonly backing?: { readonly file: string; readonly format: string };
}

/** @returns version 3, at most one cluster long @throws VMM_ERR_DISK_SIZE when the name of the backing file is too long */
export function encodeHeader(header: NewHeader): Uint8Array {
  const encoder = new TextEncoder();
  const name = encoder.encode(header.backing?.file ?? '');
  const format = encoder.encode(header.backing?.format ?? '');
  const extension = format.length === 0 ? 0 : 8 + Math.ceil(format.length / 8) * 8;
  const nameAt = FULL_LENGTH + extension + 8;
  const length = nameAt + name.length;
  if (name.length > MAX_BACKING_NAME || length > 2 ** header.clusterBits)
    throw errors.VMM_ERR_DISK_SIZE({
      details: {
        why: `the path of the backing file has ${name.length} bytes, and there is no room for it`,
        hint: 'Use a shorter path, or larger clusters.',
      },
    });
  const bytes = new Uint8Array(length);
  const data = view(bytes);
  data.setUint32(0, MAGIC);
  data.setUint32(4, 3);
  if (name.length > 0) {
    data.setBigUint64(8, BigInt(nameAt));
    data.setUint32(16, name.length);
  }
  data.setUint32(20, header.clusterBits);
  data.setBigUint64(HEADER_AT.size, BigInt(header.size));
  data.setUint32(HEADER_AT.l1Size, header.l1Size);
  data.setBigUint64(HEADER_AT.l1Offset, BigInt(header.l1Offset));
  data.setBigUint64(HEADER_AT.refcountTableOffset, BigInt(header.refcountTableOffset));
  data.setUint32(HEADER_AT.refcountTableClusters, header.refcountTableClusters);
  data.setBigUint64(80, header.lazyRefcounts === true ? COMPATIBLE_LAZY_REFCOUNTS : 0n);
  data.setUint32(96, header.refcountOrder);
  data.setUint32(100, FULL_LENGTH);
  if (extension > 0) {
    data.setUint32(FULL_LENGTH, EXTENSION_BACKING_FORMAT);
    data.setUint32(FULL_LENGTH + 4, format.length);
    bytes.set(format, FULL_LENGTH + 8);
  }
  bytes.set(name, nameAt);
  return bytes;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
