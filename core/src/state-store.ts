// Documents that survive the runtime: one JSON file each, replaced atomically.

import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errors } from './core-errors.ts';
import type { Logger } from './logging.ts';
import { readStat } from './processes/identity.ts';

export interface StateStore {
  /** Folder of the documents. */
  readonly directory: string;
  /** `undefined` when there is none. A document that cannot be read is moved aside and reported as none. */
  read(name: string): Promise<unknown>;
  /**
   * Durable when it resolves: written to a temporary file, fsync, rename, fsync of the folder. The value is taken as it
   * is at the call; what JSON cannot say (a bigint, `undefined`, a circle) is refused.
   * @throws CORE_ERR_DOCUMENT
   */
  write(name: string, value: unknown): Promise<void>;
  remove(name: string): Promise<void>;
  /** Names of the documents, sorted. */
  list(): Promise<readonly string[]>;
}

export interface StateStoreOptions {
  /** Largest document, in bytes of JSON; default 4 MiB. */
  readonly maxBytes?: number;
  /**
   * `false` leaves out both fsync: enough for what a crash of the machine makes worthless anyway, such as records of
   * running processes. A crash of the runtime alone loses nothing either way. Default `true`.
   */
  readonly sync?: boolean;
}

const DEFAULT_MAX_BYTES = 4 * 1024 * 1024;
const MAX_NAME = 4096;
/** Operations that may wait for one document; more is a caller that does not await. */
const MAX_WAITING = 1000;
/** A file name has 255 bytes, name_max in limits.h; this leaves room for `.json.damaged`. */
const MAX_FILE_STEM = 200;
const SUFFIX = '.json';
const TEMPORARY = /^\.write-(\d+)-(\d+)-\d+$/;

/** Leaves letters, digits, `_` and `-`; every other byte of its UTF-8 becomes `%XX`, so no name is a path or hidden. */
function encodeName(name: string): string {
  return encodeURIComponent(name).replace(/[!'()*.~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Names too long for a file name are found by their hash; their documents carry the name. */
interface LongDocument {
  readonly name: string;
  readonly value: unknown;
}
const LONG_PREFIX = '~';
function isLongDocument(value: unknown): value is LongDocument {
  return (
    typeof value === 'object' && value !== null && 'value' in value && 'name' in value && typeof value.name === 'string'
  );
}

interface DocumentFile {
  readonly name: string;
  readonly file: string;
  readonly long: boolean;
}

let temporaries = 0;

class FileStateStore implements StateStore {
  readonly directory: string;
  readonly #log: Logger;
  readonly #maxBytes: number;
  readonly #sync: boolean;
  /** Name → the last operation on it; each waits for the one before. */
  readonly #tails: Map<string, { readonly settled: Promise<void>; waiting: number }> = new Map();
  #opened: Promise<void> | undefined;

  constructor(directory: string, log: Logger, options: StateStoreOptions) {
    this.directory = directory;
    this.#log = log;
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    this.#sync = options.sync ?? true;
  }

  async read(name: string): Promise<unknown> {
    const document = this.#locate(name, 'read');
    return this.#inTurn(name, 'read', async () => {
      await this.#open();
      return this.#load(document);
    });
  }

  async write(name: string, value: unknown): Promise<void> {
    const document = this.#locate(name, 'written');
    const bytes = this.#serialise(document, value);
    return this.#inTurn(name, 'written', async () => {
      await this.#open();
      await this.#guard(document.file, 'written', () => this.#replace(document.file, bytes));
    });
  }

  async remove(name: string): Promise<void> {
    const document = this.#locate(name, 'removed');
    return this.#inTurn(name, 'removed', () =>
      this.#guard(document.file, 'removed', async () => {
        const existed = await unlink(join(this.directory, document.file)).then(() => true, absent);
        if (existed) await this.#syncDirectory();
      }),
    );
  }

  async list(): Promise<readonly string[]> {
    await this.#open();
    const names: string[] = [];
    for (const file of await this.#files()) {
      if (!file.endsWith(SUFFIX)) continue;
      const stem = file.slice(0, -SUFFIX.length);
      const name = stem.startsWith(LONG_PREFIX) ? await this.#longName(file) : decodeStem(stem);
      if (name !== undefined) names.push(name);
    }
    await this.#removeLeftovers();
    return names.sort();
  }

  #locate(name: string, verb: string): DocumentFile {
    if (name === '' || name.length > MAX_NAME || !name.isWellFormed()) {
      const why = `its name must be 1 to ${MAX_NAME} characters of valid Unicode`;
      throw this.#failure(JSON.stringify(name.slice(0, 100)), verb, why);
    }
    const stem = encodeName(name);
    const long = stem.length > MAX_FILE_STEM;
    // Loaded only when it is needed: it costs several milliseconds.
    const hash = (): string => process.getBuiltinModule('node:crypto').createHash('sha256').update(name).digest('hex');
    return { name, long, file: `${long ? LONG_PREFIX + hash() : stem}${SUFFIX}` };
  }

  #serialise(document: DocumentFile, value: unknown): Buffer {
    const { file, name, long } = document;
    let text: string | undefined;
    try {
      text = JSON.stringify(value);
      if (text !== undefined && long) text = JSON.stringify({ name, value } satisfies LongDocument);
    } catch (cause) {
      throw this.#failure(file, 'written', 'its value is not plain JSON', cause);
    }
    if (text === undefined) throw this.#failure(file, 'written', 'its value is not plain JSON');
    const bytes = Buffer.from(text);
    if (bytes.length > this.#maxBytes) {
      throw this.#failure(file, 'written', `it has ${bytes.length} bytes, the limit is ${this.#maxBytes}`);
    }
    return bytes;
  }

  async #load(document: DocumentFile): Promise<unknown> {
    const path = join(this.directory, document.file);
    let why = '';
    try {
      const size = (await stat(path)).size;
      if (size > this.#maxBytes) why = `it has ${size} bytes, the limit is ${this.#maxBytes}`;
      else {
        const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
        if (!document.long) return parsed;
        if (isLongDocument(parsed) && parsed.name === document.name) return parsed.value;
        why = 'it holds another document';
      }
    } catch (e) {
      if (isAbsent(e)) return undefined;
      if (!(e instanceof SyntaxError)) throw this.#failure(document.file, 'read', describe(e), e);
      why = e.message;
    }
    this.#log.error({ file: path, why }, 'a damaged state document was moved aside');
    await this.#guard(document.file, 'moved aside', () => rename(path, `${path}.damaged`));
    return undefined;
  }

  async #replace(file: string, bytes: Buffer): Promise<void> {
    const self = readStat('self');
    temporaries += 1;
    const temporary = join(this.directory, `.write-${process.pid}-${self?.start ?? 0}-${temporaries}`);
    try {
      // wx: O_CREAT | O_EXCL, so that nothing planted under this name is written through.
      const handle = await open(temporary, 'wx', 0o600);
      try {
        await handle.writeFile(bytes);
        if (this.#sync) await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, join(this.directory, file));
    } catch (e) {
      await unlink(temporary).catch(() => {});
      throw e;
    }
    await this.#syncDirectory();
  }

  async #syncDirectory(): Promise<void> {
    if (!this.#sync) return;
    const handle = await open(this.directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  #open(): Promise<void> {
    this.#opened ??= this.#guard('', 'opened', async () => {
      await mkdir(this.directory, { recursive: true, mode: 0o700 });
      await this.#removeLeftovers();
    }).catch((e: unknown) => {
      // The next operation tries again.
      this.#opened = undefined;
      throw e;
    });
    return this.#opened;
  }

  /** Temporary files of writers that were killed. Those of a living writer, in whatever process, stay. */
  async #removeLeftovers(): Promise<void> {
    for (const file of await this.#files()) {
      const [, pid, start] = TEMPORARY.exec(file) ?? [];
      if (pid === undefined || readStat(Number(pid))?.start === Number(start)) continue;
      await unlink(join(this.directory, file)).catch(() => {});
    }
  }

  #files(): Promise<readonly string[]> {
    return this.#guard('', 'listed', () => readdir(this.directory));
  }

  async #longName(file: string): Promise<string | undefined> {
    try {
      const path = join(this.directory, file);
      if ((await stat(path)).size > this.#maxBytes) return undefined;
      const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
      return isLongDocument(parsed) ? parsed.name : undefined;
    } catch {
      // Removed meanwhile, or damaged: read() reports that.
      return undefined;
    }
  }

  /** Serial per document, so that the last write called is the one that stays. */
  #inTurn<T>(name: string, verb: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(name);
    const waiting = (before?.waiting ?? 0) + 1;
    if (waiting > MAX_WAITING) {
      return Promise.reject(this.#failure(JSON.stringify(name), verb, `${MAX_WAITING} operations wait for it already`));
    }
    const result = before === undefined ? work() : before.settled.then(work);
    const tail = { waiting, settled: Promise.resolve() };
    tail.settled = result.then(
      () => this.#leave(name, tail),
      () => this.#leave(name, tail),
    );
    this.#tails.set(name, tail);
    return result;
  }

  #leave(name: string, tail: { waiting: number }): void {
    const last = this.#tails.get(name);
    if (last === tail) this.#tails.delete(name);
    else if (last !== undefined) last.waiting -= 1;
  }

  async #guard<T>(file: string, verb: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (e) {
      throw this.#failure(file, verb, describe(e), e);
    }
  }

  #failure(file: string, verb: string, why: string, cause?: unknown): Error {
    return errors.CORE_ERR_DOCUMENT({ cause, details: { file: join(this.directory, file), verb, why } });
  }
}

function decodeStem(stem: string): string | undefined {
  try {
    const name = decodeURIComponent(stem);
    return encodeName(name) === stem ? name : undefined;
  } catch {
    return undefined;
  }
}

function describe(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}

function isAbsent(e: unknown): boolean {
  return e instanceof Error && (e as NodeJS.ErrnoException).code === 'ENOENT';
}

function absent(e: unknown): false {
  if (isAbsent(e)) return false;
  throw e;
}

/** The folder is made, private to this user, when it is first needed. */
export function createStateStore(directory: string, log: Logger, options: StateStoreOptions = {}): StateStore {
  return new FileStateStore(directory, log, options);
}
