// What a zip file says of the one file that is in it. A stranger made it: every number is checked against what there is.
// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT

import { errors } from '../../errors.ts';

/** Reads `length` bytes at `position`, all of which there are. */
export type ReadAt = (position: number, length: number) => Buffer;

export interface ZipEntry {
  readonly name: string;
  readonly method: 'stored' | 'deflate';
  /** Where its data begins, in bytes. */
  readonly start: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly crc32: number;
}

export const ZIP_MAGIC: Buffer = Buffer.from('PK\x03\x04', 'latin1');

const END = { magic: 0x0605_4b50, bytes: 22 };
const END_64 = { magic: 0x0606_4b50, bytes: 56 };
const LOCATOR_64 = { magic: 0x0706_4b50, bytes: 20 };
const HEADER = { magic: 0x0201_4b50, bytes: 46 };
const LOCAL = { magic: ZIP_MAGIC.readUInt32LE(), bytes: 30 };
const COMMENT_MAX = 0xffff;
const METHODS: Readonly<Record<number, ZipEntry['method']>> = { 0: 'stored', 8: 'deflate' };
const ENCRYPTED = 1 << 0;
const EXTRA_64 = 1;
/** These mean that the number is in a field of 64 bits elsewhere. */
const [SHORT_MAX, WORD_MAX] = [0xffff, 0xffff_ffff];

const refuse = (why: string): Error => errors.CROSTINI_ERR_DISK_IMAGE({ details: { why: `of this zip file, ${why}` } });

/**
 * @param size of the file, in bytes
 * @throws CROSTINI_ERR_DISK_IMAGE unless it is a sound zip file of one file, not encrypted, stored or deflated
 */
export function readZipEntry(size: number, readAt: ReadAt): ZipEntry {
  const read = (what: string, position: number, length: number): Buffer => {
    if (position < 0 || position + length > size) throw refuse(`${what} lies outside of it`);
    return readAt(position, length);
  };
  const directory = findDirectory(size, read);
  const header = read('the directory', directory.start, directory.bytes);
  if (header.length < HEADER.bytes || header.readUInt32LE(0) !== HEADER.magic) throw refuse('the directory is damaged');
  const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((at) => header.readUInt16LE(at)) as [
    number,
    number,
    number,
  ];
  if (header.length !== HEADER.bytes + nameBytes + extraBytes + commentBytes) throw refuse('the directory is damaged');
  const method = METHODS[header.readUInt16LE(10)];
  if ((header.readUInt16LE(8) & ENCRYPTED) !== 0) throw refuse('the file in it is encrypted');
  if (method === undefined) throw refuse('the file in it is neither stored nor deflated');
  const nameEnd = HEADER.bytes + nameBytes;
  const name = header.subarray(HEADER.bytes, nameEnd);
  const wide = wideNumbers(header.subarray(nameEnd, nameEnd + extraBytes));
  // In this order, and only those that do not fit.
  const bytes = wide(header.readUInt32LE(24));
  const packedBytes = wide(header.readUInt32LE(20));
  const localAt = wide(header.readUInt32LE(42));
  const local = read('the file in it', localAt, LOCAL.bytes);
  const localName = read('the file in it', localAt + LOCAL.bytes, local.readUInt16LE(26));
  if (local.readUInt32LE(0) !== LOCAL.magic || !localName.equals(name))
    throw refuse('the directory means another file');
  const start = localAt + LOCAL.bytes + localName.length + local.readUInt16LE(28);
  if (start + packedBytes > directory.start) throw refuse('the file in it lies in its directory');
  return { name: name.toString('latin1'), method, start, packedBytes, bytes, crc32: header.readUInt32LE(16) };
}

interface Directory {
  readonly start: number;
  readonly bytes: number;
}

type Read = (what: string, position: number, length: number) => Buffer;

/** It says at its end where it begins. */
function findDirectory(size: number, read: Read): Directory {
  const tail = read('its end', Math.max(0, size - END.bytes - COMMENT_MAX), Math.min(size, END.bytes + COMMENT_MAX));
  let at = tail.length - END.bytes;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === END.magic && tail.readUInt16LE(at + 20) === tail.length - at - END.bytes)
  ) {
    at -= 1;
  }
  if (at < 0) throw refuse('there is no end');
  const end = tail.subarray(at, at + END.bytes);
  let entries = end.readUInt16LE(10);
  let [bytes, start] = [end.readUInt32LE(12), end.readUInt32LE(16)];
  if (entries === SHORT_MAX || bytes === WORD_MAX || start === WORD_MAX) {
    const locator = read('its end', size - tail.length + at - LOCATOR_64.bytes, LOCATOR_64.bytes);
    if (locator.readUInt32LE(0) !== LOCATOR_64.magic) throw refuse('the end is damaged');
    const wide = read('its end', whole(locator.readBigUInt64LE(8)), END_64.bytes);
    if (wide.readUInt32LE(0) !== END_64.magic) throw refuse('the end is damaged');
    [entries, bytes, start] = [32, 40, 48].map((place) => whole(wide.readBigUInt64LE(place))) as [
      number,
      number,
      number,
    ];
  }
  if (entries !== 1) throw refuse(`${entries} files are in it, and not one`);
  if (bytes > HEADER.bytes + 3 * SHORT_MAX) throw refuse('the directory is damaged');
  return { start, bytes };
}

/** What follows a header: fields of (id, length, content). */
function wideNumbers(extra: Buffer): (narrow: number) => number {
  let content: Buffer = Buffer.alloc(0);
  for (let at = 0; at + 4 <= extra.length; ) {
    const length = extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === EXTRA_64) content = extra.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
  let at = 0;
  return (narrow) => {
    if (narrow !== WORD_MAX) return narrow;
    if (at + 8 > content.length) throw refuse('a size is lacking');
    at += 8;
    return whole(content.readBigUInt64LE(at - 8));
  };
}

function whole(number: bigint): number {
  if (number > BigInt(Number.MAX_SAFE_INTEGER)) throw refuse('a number is too large');
  return Number(number);
}
