// An archive that a guest sends, as files of the host. The guest is not trusted: nothing is written but beneath one folder
// that is new, and what could lead out of it is left out or refused.

import { chmod, constants, type FileHandle, link, mkdir, open, symlink, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BLOCK,
  EXTENSION_MAX,
  GNU,
  malformedTar,
  PATH_MAX,
  PAX,
  padding,
  readHeader,
  readPax,
  type TarHeader,
  TYPES,
} from './format.ts';

export interface Unpacked {
  readonly files: number;
  readonly bytes: number;
  /** Paths in the archive of what a copy does not take: devices, pipes, links that lead out. The first hundred. */
  readonly leftOut: readonly string[];
  readonly leftOutCount: number;
}

const ENTRIES_MAX = 1_000_000;
const DEPTH_MAX = 128;
const LEFT_OUT_SHOWN = 100;

/**
 * Every path of the archive has to be `root` or beneath it. `into` is an empty folder which nobody else changes meanwhile;
 * links are made last, so that none is ever followed. @throws CROSTINI_ERR_COPY, errors of node:fs
 */
export async function unpack(
  archive: AsyncIterable<Uint8Array>,
  root: string,
  into: string,
  onBytes: (sum: number) => void = () => {},
): Promise<Unpacked> {
  const reader = new BlockReader(archive);
  const sink = new Sink(root, into, onBytes);
  for (;;) {
    const header = await nextEntry(reader);
    if (header === undefined) break;
    await sink.take(header, reader);
    await reader.skip(padding(header.size));
  }
  return await sink.finish();
}

/** With what extended headers say of it. */
async function nextEntry(reader: BlockReader): Promise<TarHeader | undefined> {
  let [path, linkPath, size]: (string | undefined)[] = [];
  for (;;) {
    const block = await reader.block();
    const header = block === undefined ? undefined : readHeader(block);
    if (header === undefined) return undefined;
    if (header.type === PAX.local || header.type === PAX.global) {
      const values = readPax(await extension(reader, header.size));
      if (header.type === PAX.global) continue;
      path = values.get('path') ?? path;
      linkPath = values.get('linkpath') ?? linkPath;
      size = values.get('size') ?? size;
    } else if (header.type === GNU.longName) {
      path = untilZero(await extension(reader, header.size));
    } else if (header.type === GNU.longLink) {
      linkPath = untilZero(await extension(reader, header.size));
    } else {
      return {
        ...header,
        path: path ?? header.path,
        linkPath: linkPath ?? header.linkPath,
        size: sizeOf(size, header),
      };
    }
  }
}

function sizeOf(given: string | undefined, { size, type }: TarHeader): number {
  if (given !== undefined && !/^\d{1,15}$/.test(given)) throw malformedTar('a size is no number');
  // Only files have content; links and folders may name a size all the same.
  return type === TYPES.file || !Object.values<string>(TYPES).includes(type) ? Number(given ?? size) : 0;
}

async function extension(reader: BlockReader, size: number): Promise<Buffer> {
  if (size > EXTENSION_MAX) throw malformedTar('an extended header is too long');
  const bytes = await reader.bytes(size);
  await reader.skip(padding(size));
  return bytes;
}

function untilZero(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

/** The names from the root down, without the root. Undefined: not beneath it, or a path that no honest guest sends. */
function namesBeneath(root: string, path: string): readonly string[] | undefined {
  const names = path.replace(/\/+$/, '').split('/');
  const isSound = names.every((name) => name !== '' && name !== '.' && name !== '..' && !name.includes('\0'));
  if (!isSound || names[0] !== root || names.length > DEPTH_MAX || path.length > PATH_MAX) return undefined;
  return names.slice(1);
}

interface Link {
  readonly at: string;
  readonly target: string;
}

class Sink {
  readonly #root: string;
  readonly #into: string;
  readonly #onBytes: (sum: number) => void;
  readonly #folders: Map<string, TarHeader | undefined> = new Map();
  readonly #filePaths: Set<string> = new Set();
  readonly #links: Link[] = [];
  readonly #leftOut: string[] = [];
  #leftOutCount = 0;
  #entries = 0;
  #bytes = 0;

  constructor(root: string, into: string, onBytes: (sum: number) => void) {
    this.#root = root;
    this.#into = into;
    this.#onBytes = onBytes;
  }

  async take(header: TarHeader, reader: BlockReader): Promise<void> {
    this.#entries += 1;
    if (this.#entries > ENTRIES_MAX) throw malformedTar(`it has more than ${ENTRIES_MAX} entries`);
    const names = namesBeneath(this.#root, header.path);
    if (names === undefined) throw malformedTar(`"${header.path.slice(0, 200)}" is not beneath what was asked for`);
    if (header.type === TYPES.folder) return await this.#folder(names, header);
    await this.#folder(names.slice(0, -1), undefined, names.length === 0);
    const path = this.#pathOf(names);
    if (header.type === TYPES.file) await this.#file(path, header, reader);
    else if (header.type === TYPES.hardLink) await this.#hardLink(path, header);
    else if (header.type === TYPES.symlink) this.#symlink(path, names, header);
    else {
      this.#leaveOut(header.path);
      await reader.skip(header.size);
    }
  }

  async finish(): Promise<Unpacked> {
    for (const { at, target } of this.#links) await symlink(target, at);
    // The deepest first, since their parents may not be writable afterwards.
    for (const [path, header] of [...this.#folders].reverse()) {
      if (header === undefined) continue;
      await utimes(path, header.mtime, header.mtime);
      // Whoever copied it can change it.
      await chmod(path, header.mode | 0o700);
    }
    if (this.#filePaths.size + this.#folders.size + this.#links.length === 0) throw malformedTar('it is empty');
    return {
      ...{ files: this.#filePaths.size, bytes: this.#bytes },
      ...{ leftOut: this.#leftOut, leftOutCount: this.#leftOutCount },
    };
  }

  #pathOf(names: readonly string[]): string {
    return join(this.#into, this.#root, ...names);
  }

  /** Made here and by nobody else: what exists already and is not in the table is refused by mkdir(2). */
  async #folder(names: readonly string[], header: TarHeader | undefined, isAbove = false): Promise<void> {
    if (isAbove) return;
    for (let depth = 0; depth <= names.length; depth++) {
      const path = this.#pathOf(names.slice(0, depth));
      if (this.#folders.has(path)) continue;
      await mkdir(path, { mode: 0o700 });
      this.#folders.set(path, undefined);
    }
    if (header !== undefined) this.#folders.set(this.#pathOf(names), header);
  }

  async #file(path: string, { mode, size, mtime }: TarHeader, reader: BlockReader): Promise<void> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = await open(path, flags, 0o600);
    try {
      await this.#content(file, size, reader);
      await file.utimes(mtime, mtime);
      await file.chmod(mode);
    } finally {
      await file.close();
    }
    this.#filePaths.add(path);
  }

  async #content(file: FileHandle, size: number, reader: BlockReader): Promise<void> {
    for await (const chunk of reader.upTo(size)) {
      await file.writeFile(chunk);
      this.#bytes += chunk.length;
      this.#onBytes(this.#bytes);
    }
  }

  /** Only to a file of this archive. */
  async #hardLink(path: string, header: TarHeader): Promise<void> {
    const names = namesBeneath(this.#root, header.linkPath);
    const target = names === undefined ? undefined : this.#pathOf(names);
    if (target === undefined || !this.#filePaths.has(target)) return this.#leaveOut(header.path);
    await link(target, path);
    this.#filePaths.add(path);
  }

  /** Only to somewhere beneath the root, so that no program that follows it reads the host's files for the guest's. */
  #symlink(path: string, names: readonly string[], { path: name, linkPath: target }: TarHeader): void {
    const isSound = !target.startsWith('/') && target !== '' && !target.includes('\0');
    const isInside = isSound && staysBelow(names.length - 1, target);
    if (isInside && target.length <= PATH_MAX && names.length > 0) this.#links.push({ at: path, target });
    else this.#leaveOut(name);
  }

  #leaveOut(path: string): void {
    this.#leftOutCount += 1;
    if (this.#leftOut.length < LEFT_OUT_SHOWN) this.#leftOut.push(path);
  }
}

/** `..` only at the beginning: after another link it would lead to where that one does. */
function staysBelow(depth: number, target: string): boolean {
  const names = target.split('/').filter((name) => name !== '' && name !== '.');
  const ups = names.findIndex((name) => name !== '..');
  const leading = ups < 0 ? names.length : ups;
  return leading <= depth && !names.slice(leading).includes('..');
}

/** Bytes in the portions that are asked for. */
class BlockReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Undefined at the end. */
  async block(): Promise<Buffer | undefined> {
    if (this.#rest.length === 0 && !(await this.#more())) return undefined;
    return await this.bytes(BLOCK);
  }

  /** At most EXTENSION_MAX of them. @throws CROSTINI_ERR_COPY when there are fewer */
  async bytes(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of this.upTo(count)) parts.push(part);
    return Buffer.concat(parts);
  }

  async skip(count: number): Promise<void> {
    for await (const _ of this.upTo(count));
  }

  /** As they come. @throws CROSTINI_ERR_COPY when there are fewer */
  async *upTo(count: number): AsyncGenerator<Buffer, void> {
    for (let left = count; left > 0; ) {
      if (this.#rest.length === 0 && !(await this.#more())) throw malformedTar('it ends in the midst of an entry');
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  async #more(): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.#source.next();
      if (done === true) return false;
      if (value.length === 0) continue;
      this.#rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      return true;
    }
  }
}
