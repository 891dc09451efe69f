// LXD's REST API, as far as containers of Crostini need it. Incus answers the same.

import { constants } from 'node:os';
import { Readable } from 'node:stream';
import { type EventSubscription, subscribeToEvents } from './events.ts';
import { isLxdError, LxdError, type LxdHttpRequest, type LxdUpload, openLxd, readWhole } from './http.ts';
import { type Json, listOf, numberOf, objectOf, textOf, textsOf } from './json.ts';

export interface LxdInstance {
  readonly name: string;
  /** `Running`, `Stopped`, `Frozen`, `Error`, … */
  readonly status: string;
  readonly architecture: string;
  readonly config: Readonly<Record<string, string>>;
  readonly devices: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface LxdExecResult {
  /** As a shell has it: 128 and its number for a signal. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** An operation that LXD works on. */
export interface LxdWork {
  readonly signal?: AbortSignal;
  /** Its metadata, whenever they change. */
  readonly onProgress?: (metadata: Json) => void;
}

export interface LxdFile {
  readonly content: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export type NewLxdFile = Partial<Omit<LxdFile, 'content'>> & { readonly content: Uint8Array };

type Query = Readonly<Record<string, string | number>>;
type Options = Partial<Omit<LxdHttpRequest, 'method' | 'path'>> & { readonly query?: Query };

/** Of one that is asked whether it listens at all. */
const READY_MS = 5_000;
const OPERATION = /^\/1\.0\/operations\/[0-9a-f-]{36}$/;

export class LxdClient {
  readonly socketPath: string;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /** Whether it listens, and has its database. */
  async ready(): Promise<boolean> {
    try {
      await this.call('GET', '/internal/ready', { idleMs: READY_MS });
      return true;
    } catch {
      return false;
    }
  }

  /** What `metadata` of the answer holds, of an operation when it has ended. @throws LxdError; Error when nobody answers */
  async call(method: LxdHttpRequest['method'], path: string, options: Options & LxdWork = {}): Promise<unknown> {
    const { query, onProgress, ...rest } = options;
    const answer = await openLxd(this.socketPath, { ...rest, method, path: withQuery(path, query) });
    const said = parseAnswer(answer.statusCode ?? 0, await readWhole(answer));
    if (said.type !== 'async') return said.metadata;
    const operation = textOf(said.operation);
    if (!OPERATION.test(operation)) throw new LxdError(500, 'LXD names no operation that it works on');
    return this.#operation(operation, options);
  }

  instance(name: string): Promise<LxdInstance | undefined> {
    return this.#unlessAbsent(async () =>
      parseInstance(objectOf(await this.call('GET', `/1.0/instances/${encodeURIComponent(name)}`))),
    );
  }

  async instances(): Promise<LxdInstance[]> {
    const all = await this.call('GET', '/1.0/instances', { query: { recursion: 1 } });
    return listOf(all).map((each) => parseInstance(objectOf(each)));
  }

  async changeState(name: string, action: 'start' | 'stop', options: { readonly force?: boolean } & LxdWork = {}) {
    const { force = false, ...work } = options;
    const body = { action, timeout: -1, force, stateful: false };
    await this.call('PUT', `/1.0/instances/${encodeURIComponent(name)}/state`, { ...work, body, idleMs: 0 });
  }

  /** Of the first interface of that name. */
  async addressOf(name: string, device = 'eth0'): Promise<string | undefined> {
    const state = objectOf(await this.call('GET', `/1.0/instances/${encodeURIComponent(name)}/state`));
    const { addresses } = objectOf(objectOf(state.network)[device]);
    const found = listOf(addresses)
      .map(objectOf)
      .find(({ family, scope }) => family === 'inet' && scope === 'global');
    return found === undefined ? undefined : textOf(found.address);
  }

  /** Replaces what is named, and keeps the rest. */
  async update(name: string, changes: { readonly config?: Json; readonly devices?: Json }): Promise<void> {
    await this.call('PATCH', `/1.0/instances/${encodeURIComponent(name)}`, { body: changes });
  }

  async rename(name: string, to: string): Promise<void> {
    await this.call('POST', `/1.0/instances/${encodeURIComponent(name)}`, { body: { name: to } });
  }

  /** @returns whether there was one */
  async remove(name: string): Promise<boolean> {
    const gone = await this.#unlessAbsent(async () => {
      await this.call('DELETE', `/1.0/instances/${encodeURIComponent(name)}`, { idleMs: 0 });
      return true;
    });
    return gone ?? false;
  }

  /** Runs a program in a container to its end; what it says is cut off at a MiB. @throws LxdError when it does not run */
  async exec(
    name: string,
    command: readonly string[],
    options: { readonly environment?: Readonly<Record<string, string>>; readonly signal?: AbortSignal } = {},
  ): Promise<LxdExecResult> {
    const { environment = {}, signal } = options;
    const body = { command, environment, 'record-output': true, 'wait-for-websocket': false, interactive: false };
    const done = objectOf(
      await this.call('POST', `/1.0/instances/${encodeURIComponent(name)}/exec`, {
        ...{ body, idleMs: 0 },
        ...(signal === undefined ? {} : { signal }),
      }),
    );
    const output = textsOf(done.output);
    const [stdout, stderr] = await Promise.all(['1', '2'].map((fd) => this.#takeRecord(output[fd])));
    const code = numberOf(done.return);
    // LXD has −1 for a signal that it does not know.
    return { code: code < 0 ? 128 + constants.signals.SIGKILL : code, stdout: stdout ?? '', stderr: stderr ?? '' };
  }

  /** A regular file in a container that may be stopped; undefined when there is none. @throws LxdError */
  readFile(name: string, path: string): Promise<LxdFile | undefined> {
    return this.#unlessAbsent(async () => {
      const answer = await openLxd(this.socketPath, { method: 'GET', path: filePath(name, path) });
      const content = await readWhole(answer);
      if (answer.statusCode !== 200) parseAnswer(answer.statusCode ?? 0, content);
      const { 'x-lxd-type': type, 'x-lxd-mode': mode, 'x-lxd-uid': uid, 'x-lxd-gid': gid } = answer.headers;
      if (type !== 'file') throw new LxdError(400, `${path} is no file`);
      return { content, mode: Number.parseInt(String(mode), 8), uid: Number(uid), gid: Number(gid) };
    });
  }

  /** What lay there is replaced. Folders above it are not made. @throws LxdError */
  async writeFile(name: string, path: string, file: NewLxdFile) {
    const { content, mode = 0o644, uid = 0, gid = 0 } = file;
    await this.#putFile(name, path, { type: 'file', mode, uid, gid }, content);
  }

  async makeFolder(name: string, path: string, { mode = 0o755, uid = 0, gid = 0 } = {}): Promise<void> {
    await this.#putFile(name, path, { type: 'directory', mode, uid, gid });
  }

  /** Of an image that is there; undefined when none has that name. */
  imageByAlias(alias: string): Promise<string | undefined> {
    return this.#unlessAbsent(async () => {
      const found = objectOf(await this.call('GET', `/1.0/images/aliases/${encodeURIComponent(alias)}`));
      return textOf(found.target);
    });
  }

  /** @returns its fingerprint. @throws LxdError */
  async importImage(upload: LxdUpload, headers: Readonly<Record<string, string>>, work: LxdWork): Promise<string> {
    const done = objectOf(await this.call('POST', '/1.0/images', { ...work, upload, headers, idleMs: 0 }));
    return textOf(done.fingerprint);
  }

  events(types: readonly ('lifecycle' | 'operation')[], onEvent: (event: Json) => void): Promise<EventSubscription> {
    return subscribeToEvents(this.socketPath, `/1.0/events?type=${types.join(',')}`, (text) => {
      onEvent(objectOf(JSON.parse(text)));
    });
  }

  /** A tar of it, unpacked from whatever it is packed with. */
  async download(path: string, options: { readonly signal?: AbortSignal } = {}): Promise<Readable> {
    const answer = await openLxd(this.socketPath, { method: 'GET', path, idleMs: 0, ...options });
    if (answer.statusCode !== 200) parseAnswer(answer.statusCode ?? 0, await readWhole(answer));
    return answer;
  }

  async #operation(path: string, { signal, onProgress }: LxdWork): Promise<Json> {
    const watching =
      onProgress === undefined
        ? undefined
        : await this.events(['operation'], ({ metadata }) => {
            const { id, metadata: progress } = objectOf(metadata);
            if (path.endsWith(`/${textOf(id)}`) && id !== '') onProgress(objectOf(progress));
          });
    const cancel = (): void => void this.call('DELETE', path).catch(() => {});
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      // An aborted one is still waited for: it is over when LXD says so.
      if (signal?.aborted === true) cancel();
      const done = objectOf(await this.call('GET', `${path}/wait`, { idleMs: 0 }));
      if (numberOf(done.status_code) !== 200) throw failureOf(done, signal);
      return objectOf(done.metadata);
    } finally {
      signal?.removeEventListener('abort', cancel);
      watching?.[Symbol.dispose]();
    }
  }

  async #putFile(name: string, path: string, facts: FileFacts, content?: Uint8Array): Promise<void> {
    const { type, mode, uid, gid } = facts;
    const answer = await openLxd(this.socketPath, {
      ...{ method: 'POST', path: filePath(name, path) },
      headers: {
        ...{ 'X-LXD-type': type, 'X-LXD-mode': mode.toString(8).padStart(4, '0') },
        ...{ 'X-LXD-uid': String(uid), 'X-LXD-gid': String(gid), 'X-LXD-write': 'overwrite' },
      },
      ...(content === undefined ? {} : { upload: uploadOf(content) }),
    });
    parseAnswer(answer.statusCode ?? 0, await readWhole(answer));
  }

  /** What LXD has kept of an output is read once. */
  async #takeRecord(path: string | undefined): Promise<string> {
    if (path?.startsWith('/1.0/instances/') !== true) return '';
    const answer = await openLxd(this.socketPath, { method: 'GET', path });
    const chunks: Buffer[] = [];
    let left = RECORD_MAX;
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      if (left > 0) chunks.push(chunk.subarray(0, left));
      left -= chunk.length;
    }
    await this.call('DELETE', path).catch(() => {});
    return answer.statusCode === 200 ? Buffer.concat(chunks).toString() : '';
  }

  async #unlessAbsent<T>(fn: () => Promise<T>): Promise<T | undefined> {
    try {
      return await fn();
    } catch (e) {
      if (isLxdError(e, 404)) return undefined;
      throw e;
    }
  }
}

const RECORD_MAX = 2 ** 20;

interface FileFacts {
  readonly type: 'file' | 'directory';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

function uploadOf(content: Uint8Array): LxdUpload {
  return { content: Readable.from([content]), bytes: content.length, type: 'application/octet-stream' };
}

function withQuery(path: string, query: Query | undefined): string {
  if (query === undefined) return path;
  const pairs = Object.entries(query).map(([key, value]): [string, string] => [key, String(value)]);
  return `${path}?${new URLSearchParams(pairs)}`;
}

function filePath(name: string, path: string): string {
  return withQuery(`/1.0/instances/${encodeURIComponent(name)}/files`, { path });
}

function parseAnswer(status: number, bytes: Buffer): Json {
  let said: Json;
  try {
    said = objectOf(JSON.parse(bytes.toString()));
  } catch {
    throw new LxdError(status, `LXD answers HTTP ${status}, and no JSON`);
  }
  if (said.type === 'error' || status >= 400) {
    throw new LxdError(numberOf(said.error_code) || status, textOf(said.error) || `LXD answers HTTP ${status}`);
  }
  return said;
}

/** Its status codes are HTTP's, with 401 for what was cancelled. */
const CANCELLED = 401;

function failureOf(operation: Json, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return signal.reason;
  const code = numberOf(operation.status_code);
  return new LxdError(
    code,
    textOf(operation.err) || (code === CANCELLED ? 'it was cancelled' : `it ended with ${code}`),
  );
}

function parseInstance(instance: Json): LxdInstance {
  const devices = Object.entries(objectOf(instance.devices)).map(([name, device]) => [name, textsOf(device)] as const);
  return {
    name: textOf(instance.name),
    status: textOf(instance.status),
    architecture: textOf(instance.architecture),
    config: textsOf(instance.config),
    devices: Object.fromEntries(devices),
  };
}
