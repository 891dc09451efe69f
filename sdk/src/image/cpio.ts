// Archives the kernel unpacks as its initial file system: cpio in the "newc" format, uncompressed, since under emulation
// to decompress costs more than to copy. Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
// The same entries give the same bytes: sorted, owned by root, of the epoch.

import { errors } from '../errors.ts';

export interface CpioEntry {
  /** Permission bits; default 0o755 for folders, 0o644 for files. */
  readonly mode?: number;
  /** A folder has none. */
  readonly content?: Uint8Array | string;
  /** Makes it a symbolic link to this. */
  readonly link?: string;
  /** Makes it a device node. */
  readonly device?: { readonly kind: 'char' | 'block'; readonly major: number; readonly minor: number };
}

const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
const S_IFDIR = 0o040000;
const S_IFBLK = 0o060000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

const HEADER_BYTES = 110;
/** The kernel refuses longer names (PATH_MAX, with the zero). */
const NAME_MAX_BYTES = 4096;
const BLOCK_BYTES = 512;

interface Item {
  readonly name: Buffer;
  readonly mode: number;
  readonly body: Uint8Array;
  readonly major: number;
  readonly minor: number;
}

const EMPTY = new Uint8Array(0);
const align4 = (n: number): number => (n + 3) & ~3;

/**
 * Folders above an entry are made when they are not given.
 * @param entries by path, with or without a leading slash
 * @throws SDK_ERR_IMAGE_FORMAT for a path the kernel would refuse or misread
 */
export function writeCpio(entries: Readonly<Record<string, CpioEntry>>): Buffer {
  const records = new Map<string, Item>();
  for (const [path, entry] of Object.entries(entries)) {
    const parts = path.split('/').filter((part) => part !== '');
    const name = parts.join('/');
    check(path, parts);
    for (let i = 1; i < parts.length; i++) {
      const parent = parts.slice(0, i).join('/');
      if (!records.has(parent)) records.set(parent, folder(parent));
    }
    records.set(name, record(name, entry));
  }
  // A parent is a prefix of its children and so comes before them.
  const sorted = [...records.values()].sort((a, b) => a.name.compare(b.name));
  sorted.push({ name: Buffer.from('TRAILER!!!'), mode: 0, body: EMPTY, major: 0, minor: 0 });
  let size = 0;
  for (const { name, body } of sorted) size += align4(HEADER_BYTES + name.length + 1) + align4(body.length);
  const out = Buffer.alloc(Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES);
  let at = 0;
  let inode = 0;
  for (const one of sorted) {
    inode += 1;
    const links = (one.mode & S_IFMT) === S_IFDIR ? 2 : 1;
    const last = one.mode === 0;
    const fields = [
      last ? 0 : inode,
      one.mode,
      0, // uid
      0, // gid
      links,
      0, // mtime
      one.body.length,
      0, // device the file lay on, major and minor
      0,
      one.major,
      one.minor,
      one.name.length + 1,
      0, // checksum, of the other format
    ];
    at += out.write(`070701${fields.map((n) => n.toString(16).padStart(8, '0')).join('')}`, at, 'latin1');
    out.set(one.name, at);
    at = align4(at + one.name.length + 1);
    out.set(one.body, at);
    at = align4(at + one.body.length);
  }
  return out;
}

function check(path: string, parts: readonly string[]): void {
  const bad = parts.length === 0 || parts.some((part) => part === '.' || part === '..') || path.includes('\0');
  if (!bad && Buffer.byteLength(path) < NAME_MAX_BYTES) return;
  const why = bad ? 'it must name something below the root' : `it is longer than ${NAME_MAX_BYTES - 1} bytes`;
  throw errors.SDK_ERR_IMAGE_FORMAT({ details: { file: `path ${JSON.stringify(path.slice(0, 200))}`, why } });
}

const folder = (name: string): Item => record(name, {});

function record(name: string, { mode, content, link, device }: CpioEntry): Item {
  const make = (type: number, permissions: number, body: Uint8Array = EMPTY): Item => ({
    name: Buffer.from(name),
    mode: type | ((mode ?? permissions) & 0o7777),
    body,
    major: device?.major ?? 0,
    minor: device?.minor ?? 0,
  });
  if (link !== undefined) return make(S_IFLNK, 0o777, Buffer.from(link));
  if (device !== undefined) return make(device.kind === 'char' ? S_IFCHR : S_IFBLK, 0o600);
  if (content === undefined) return make(S_IFDIR, 0o755);
  const body = typeof content === 'string' ? Buffer.from(content) : content;
  if (body.length > 0xffff_ffff) {
    throw errors.SDK_ERR_IMAGE_FORMAT({ details: { file: name, why: 'a file of 4 GiB or more does not fit in cpio' } });
  }
  return make(S_IFREG, 0o644, body);
}
