// The logs of VMs on the disk: current.log, which is put aside as current.log.1 when it is full, and so on. They are there
// after a VM has ended, until it is deleted or many others have come after it.

import {
  closeSync,
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeRecord, encodeRecord, type LogRecord, type LogSource } from './log-records.ts';
import { keyText, type VmKey } from './names.ts';

export interface LogLimits {
  /** Of one file. */
  readonly maxMib: number;
  /** Of one VM, with the one that is written to. */
  readonly files: number;
  /** Of one owner, those that run aside. */
  readonly vms: number;
}

export interface LogQuery {
  /** The last ones of those that are meant; default: all. */
  readonly lines?: number | undefined;
  /** Milliseconds since 1970; none is older. */
  readonly since?: number | undefined;
  /** Default: all. */
  readonly sources?: readonly LogSource[] | undefined;
}

interface OpenLog {
  readonly folder: string;
  fd: number;
  size: number;
}

const MIB = 2 ** 20;
const CURRENT = 'current.log';
const ASIDE = /^current\.log\.(\d{1,4})$/;
/** Bytes of one read. */
const CHUNK = 256 * 1024;
/** Bytes of the longest line there is: each letter of it can be one that JSON takes six bytes for. */
const MAX_FILE_LINE = 64 * 1024;

export class LogStore implements Disposable {
  readonly #directory: string;
  readonly #limits: LogLimits;
  readonly #open: Map<string, OpenLog> = new Map();

  constructor(directory: string, limits: LogLimits) {
    this.#directory = directory;
    this.#limits = limits;
  }

  /** A disk that is full costs the log, not the VM. */
  append(key: VmKey, records: readonly LogRecord[]): void {
    if (records.length === 0) return;
    try {
      const log = this.#open.get(keyText(key)) ?? this.#begin(key);
      for (const part of batches(records)) this.#write(log, Buffer.from(part));
    } catch {
      this.close(key);
    }
  }

  close(key: VmKey): void {
    const log = this.#open.get(keyText(key));
    if (log !== undefined && log.fd >= 0) closeSync(log.fd);
    this.#open.delete(keyText(key));
  }

  has(key: VmKey): boolean {
    return existsSync(this.#folder(key));
  }

  /** Of one that runs, it begins anew. */
  remove(key: VmKey): void {
    this.close(key);
    rmSync(this.#folder(key), { recursive: true, force: true });
  }

  /** By their time. What is appended after the call is not among them. */
  async read(key: VmKey, { lines, since = 0, sources }: LogQuery = {}): Promise<readonly LogRecord[]> {
    const found: LogRecord[] = [];
    // Opened at once: what is put aside meanwhile stays what it is.
    const files = this.#openAll(key);
    try {
      for (const { fd, size } of files) {
        for await (const line of linesOfFile(fd, size)) {
          const record = decodeRecord(line);
          if (record === undefined || record.time < since) continue;
          if (sources === undefined || sources.includes(record.source)) found.push(record);
        }
      }
    } finally {
      for (const { fd } of files) closeSync(fd);
    }
    found.sort((a, b) => a.time - b.time);
    return lines === undefined ? found : found.slice(Math.max(0, found.length - lines));
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#open.values()) if (fd >= 0) closeSync(fd);
    this.#open.clear();
  }

  #folder({ owner, name }: VmKey): string {
    return join(this.#directory, owner, encodeLogName(name));
  }

  #begin(key: VmKey): OpenLog {
    const folder = this.#folder(key);
    if (!existsSync(folder)) this.#makeRoom(key);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) {
      const at = Number(ASIDE.exec(name)?.[1] ?? 0);
      if (at >= this.#limits.files) rmSync(join(folder, name), { force: true });
    }
    const log: OpenLog = { folder, fd: openSync(join(folder, CURRENT), 'a', 0o600), size: 0 };
    log.size = fstatSync(log.fd).size;
    this.#open.set(keyText(key), log);
    return log;
  }

  #write(log: OpenLog, bytes: Uint8Array): void {
    if (log.size > 0 && log.size + bytes.length > this.#limits.maxMib * MIB) this.#rotate(log);
    for (let from = 0; from < bytes.length; ) from += writeSync(log.fd, bytes, from);
    log.size += bytes.length;
  }

  #rotate(log: OpenLog): void {
    const { files } = this.#limits;
    const path = (at: number): string => join(log.folder, at === 0 ? CURRENT : `${CURRENT}.${at}`);
    closeSync(log.fd);
    log.fd = -1;
    if (files === 1) rmSync(path(0), { force: true });
    for (let at = files - 2; at >= 0; at--) if (existsSync(path(at))) renameSync(path(at), path(at + 1));
    log.fd = openSync(path(0), 'a', 0o600);
    log.size = 0;
  }

  /** Removes the logs of those that have been silent for longest. */
  #makeRoom({ owner }: VmKey): void {
    const running = new Set([...this.#open.values()].map(({ folder }) => folder));
    const silent = namesIn(join(this.#directory, owner))
      .map((name) => join(this.#directory, owner, name))
      .filter((folder) => !running.has(folder))
      .map((folder) => ({ folder, at: lastChange(folder) }))
      .sort((a, b) => b.at - a.at);
    for (const { folder } of silent.slice(Math.max(0, this.#limits.vms - 1))) {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Oldest first, with the bytes that they have now. */
  #openAll(key: VmKey): readonly { readonly fd: number; readonly size: number }[] {
    const folder = this.#folder(key);
    const aside = namesIn(folder)
      .flatMap((name) => ASIDE.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a);
    return [...aside.map((at) => `${CURRENT}.${at}`), CURRENT].flatMap((name) => {
      try {
        const fd = openSync(join(folder, name), 'r');
        return [{ fd, size: fstatSync(fd).size }];
      } catch {
        return [];
      }
    });
  }
}

/** Base64 for URLs, so that any name of a VM is the name of a folder. */
export function encodeLogName(name: string): string {
  return Buffer.from(name).toString('base64url');
}

/** Lines of several records together, far fewer bytes than a file has. */
function* batches(records: readonly LogRecord[]): Generator<string> {
  let text = '';
  for (const record of records) {
    text += encodeRecord(record);
    if (text.length < CHUNK) continue;
    yield text;
    text = '';
  }
  if (text !== '') yield text;
}

async function* linesOfFile(fd: number, size: number): AsyncGenerator<string> {
  await using file = await open(`/proc/self/fd/${fd}`, 'r');
  const chunk = Buffer.alloc(Math.min(CHUNK, Math.max(1, size)));
  let rest = Buffer.alloc(0);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(chunk, 0, Math.min(chunk.length, size - at), at);
    if (bytesRead === 0) break;
    at += bytesRead;
    let bytes = Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a)) {
      yield bytes.toString('utf8', 0, end);
      bytes = bytes.subarray(end + 1);
    }
    rest = bytes.length > MAX_FILE_LINE ? Buffer.alloc(0) : bytes;
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function lastChange(folder: string): number {
  const times = [folder, join(folder, CURRENT)].map((path) => {
    try {
      return lstatSync(path).mtimeMs;
    } catch {
      return 0;
    }
  });
  return Math.max(...times);
}
