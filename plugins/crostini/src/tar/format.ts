// The blocks of tar archives: pax interchange format, POSIX.1-2017 (pax), and the long names of GNU tar.

import { errors } from '../errors.ts';

export const BLOCK = 512;
/** Bytes of names and attributes before an entry; the kernel's limit of a path is 4,096. */
export const EXTENSION_MAX = 64 * 1024;
/** Bytes of a whole path. */
export const PATH_MAX = 4096;

/** Type flags of ustar that a copy knows. */
export const TYPES = { file: '0', hardLink: '1', symlink: '2', folder: '5' } as const;
export const PAX = { local: 'x', global: 'g' } as const;
export const GNU = { longName: 'L', longLink: 'K' } as const;

export interface TarHeader {
  readonly path: string;
  /** One character. */
  readonly type: string;
  /** Permission bits. */
  readonly mode: number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly linkPath: string;
}

export const malformedTar = (why: string): Error =>
  errors.CROSTINI_ERR_COPY({ details: { what: 'the archive of the guest', why } });

/** What has to be added so that a part ends at a block. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

interface Place {
  readonly at: number;
  readonly length: number;
}
const FIELDS = {
  name: { at: 0, length: 100 },
  mode: { at: 100, length: 8 },
  uid: { at: 108, length: 8 },
  gid: { at: 116, length: 8 },
  size: { at: 124, length: 12 },
  mtime: { at: 136, length: 12 },
  checksum: { at: 148, length: 8 },
  type: { at: 156, length: 1 },
  linkName: { at: 157, length: 100 },
  magic: { at: 257, length: 8 },
  prefix: { at: 345, length: 155 },
} as const satisfies Record<string, Place>;

/** Undefined: a block of zeros, which ends an archive. @throws CROSTINI_ERR_COPY */
export function readHeader(block: Buffer): TarHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  if (octal(block, FIELDS.checksum) !== checksumOf(block)) throw malformedTar('a checksum is wrong');
  const prefix = block.subarray(257, 262).toString('latin1') === 'ustar' ? text(block, FIELDS.prefix) : '';
  const name = text(block, FIELDS.name);
  return {
    path: prefix === '' || isGnu(block) ? name : `${prefix}/${name}`,
    type: String.fromCharCode(block[FIELDS.type.at] || 0x30),
    mode: octal(block, FIELDS.mode) & 0o777,
    size: octal(block, FIELDS.size),
    mtime: octal(block, FIELDS.mtime),
    linkPath: text(block, FIELDS.linkName),
  };
}

/** GNU tar has other things where the prefix is. */
function isGnu(block: Buffer): boolean {
  return block[262] === 0x20;
}

/** One entry's header, with a pax header before it when it needs one. Its owner is root, whom tar may replace. */
export function writeHeader(header: TarHeader): Buffer {
  const extensions = extensionsOf(header);
  if (extensions.length === 0) return block(header);
  const size = extensions.length;
  const pax = block({ path: 'pax', type: PAX.local, mode: 0o644, size, mtime: header.mtime, linkPath: '' });
  return Buffer.concat([pax, extensions, Buffer.alloc(padding(size)), block(header)]);
}

const MAX_OCTAL = 0o77777777777;

function extensionsOf({ path, size, linkPath }: TarHeader): Buffer {
  const records = [
    ...(Buffer.byteLength(path) > FIELDS.name.length ? [paxRecord('path', path)] : []),
    ...(Buffer.byteLength(linkPath) > FIELDS.linkName.length ? [paxRecord('linkpath', linkPath)] : []),
    ...(size > MAX_OCTAL ? [paxRecord('size', String(size))] : []),
  ];
  return Buffer.concat(records);
}

/** The length that it begins with counts its own digits. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + String(bytes).length;
  if (String(length).length !== String(bytes).length) length = bytes + String(length).length;
  return Buffer.from(`${length}${rest}`);
}

/** Keys and values of a pax header. @throws CROSTINI_ERR_COPY */
export function readPax(bytes: Buffer): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const [, digits = ''] = /^(\d{1,6}) /.exec(bytes.subarray(at, at + 8).toString('latin1')) ?? [];
    const end = at + Number(digits);
    const equals = bytes.indexOf('=', at);
    if (digits === '' || end > bytes.length || equals < 0 || equals >= end || bytes[end - 1] !== 0x0a) {
      throw malformedTar('an extended header is none');
    }
    values.set(bytes.toString('utf8', at + digits.length + 1, equals), bytes.toString('utf8', equals + 1, end - 1));
    at = end;
  }
  return values;
}

function block({ path, type, mode, size, mtime, linkPath }: TarHeader): Buffer {
  const bytes = Buffer.alloc(BLOCK);
  const put = ({ at, length }: Place, value: string): void => {
    bytes.set(Buffer.from(value).subarray(0, length), at);
  };
  const number = (value: number, { length }: Place): string =>
    Math.max(0, Math.min(value, 8 ** (length - 1) - 1))
      .toString(8)
      .padStart(length - 1, '0');
  put(FIELDS.name, path);
  put(FIELDS.linkName, linkPath);
  put(FIELDS.type, type);
  put(FIELDS.magic, 'ustar\x0000');
  for (const [field, value] of Object.entries({ mode, uid: 0, gid: 0, size, mtime: Math.floor(mtime) })) {
    const place = FIELDS[field as 'mode' | 'uid' | 'gid' | 'size' | 'mtime'];
    put(place, number(value, place));
  }
  put(FIELDS.checksum, `${checksumOf(bytes).toString(8).padStart(6, '0')}\0 `);
  return bytes;
}

/** The sum of the bytes, as if the sum itself were spaces. */
function checksumOf(bytes: Buffer): number {
  const { at, length } = FIELDS.checksum;
  return bytes.reduce((sum, byte, i) => sum + (i >= at && i < at + length ? 0x20 : byte), 0);
}

function text(bytes: Buffer, { at, length }: Place): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end);
}

/** Octal digits, or as GNU writes what does not fit: 0x80 and the number. @throws CROSTINI_ERR_COPY */
function octal(bytes: Buffer, { at, length }: Place): number {
  if (bytes[at] === 0x80) {
    const value = bytes.subarray(at + 1, at + length).reduce((sum, byte) => sum * 256 + byte, 0);
    if (Number.isSafeInteger(value)) return value;
    throw malformedTar('a number is too large');
  }
  const digits = bytes
    .toString('latin1', at, at + length)
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (!/^[0-7]*$/.test(digits)) throw malformedTar('a number is none');
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}
