// A client of QMP over a Unix socket, with descriptors: one connection, commands with deadlines, events.

import { closeSync } from 'node:fs';
import { connectUnix, FdSocket, type Watch, watch } from '@runtime/sdk/linux';
import { errors } from '../../errors.ts';
import { LineSplitter } from './line-splitter.ts';
import { parseQmp, type QmpMessage, type QmpVersion } from './qmp-messages.ts';

/** Bytes of one line from QEMU; query-qmp-schema, the longest answer there is, has 200 KiB. */
export const MAX_QMP_LINE = 1024 * 1024;
/** Commands that may wait for an answer. */
const MAX_PENDING = 64;
const DEFAULT_MS = 10_000;
const READ_BYTES = 65_536;

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface QmpOptions {
  /** For messages. */
  readonly vm: string;
  readonly onEvent: (event: QmpEvent) => void;
  /** The connection has ended; not called for `close()`. */
  readonly onClose: (why: string) => void;
  /** Milliseconds for the greeting and the answer to it; default 10,000. QEMU says nothing before its devices are there. */
  readonly greetMs?: number;
}

interface Waiting {
  readonly command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class QmpClient implements Disposable {
  readonly #options: QmpOptions;
  readonly #fd: number;
  readonly #socket: FdSocket;
  readonly #watch: Watch;
  readonly #lines: LineSplitter = new LineSplitter(MAX_QMP_LINE);
  readonly #buffer: Uint8Array = new Uint8Array(READ_BYTES);
  readonly #waiting: Map<number, Waiting> = new Map();
  /** What the socket did not take yet. */
  readonly #unsent: { bytes: Uint8Array; fds: readonly number[] }[] = [];
  readonly #greeted: PromiseWithResolvers<QmpVersion> = Promise.withResolvers<QmpVersion>();
  #nextId = 1;
  #closed = false;

  /** @throws VMM_ERR_QMP; LinuxError ENOENT, ECONNREFUSED */
  static async connect(path: string, options: QmpOptions): Promise<QmpClient> {
    const client = new QmpClient(connectUnix(path), options);
    const { greetMs = DEFAULT_MS } = options;
    try {
      await client.#within(greetMs, 'greeting', client.#greeted.promise);
      await client.execute('qmp_capabilities', {}, { timeoutMs: greetMs });
      return client;
    } catch (e) {
      client[Symbol.dispose]();
      throw e;
    }
  }

  /** @param fd connected; this closes it */
  constructor(fd: number, options: QmpOptions) {
    this.#options = options;
    this.#fd = fd;
    this.#socket = new FdSocket(fd, { maxFds: 0 });
    this.#watch = watch(fd, { readable: true }, ({ readable, writable }) => {
      if (readable) this.#read();
      if (writable) this.#flush();
    });
    this.#greeted.promise.catch(() => {});
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** What it answered. Descriptors stay the caller's. @throws VMM_ERR_QMP */
  async execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    options: { readonly timeoutMs?: number; readonly fds?: readonly number[] } = {},
  ): Promise<unknown> {
    if (this.#closed) throw this.#failure(command, 'the connection has ended');
    if (this.#waiting.size >= MAX_PENDING) throw this.#failure(command, `${MAX_PENDING} commands wait already`);
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { command, resolve, reject });
    const line = `${JSON.stringify({ execute: command, arguments: args, id })}\n`;
    this.#unsent.push({ bytes: Buffer.from(line), fds: options.fds ?? [] });
    this.#flush();
    try {
      return await this.#within(options.timeoutMs ?? DEFAULT_MS, command, promise);
    } finally {
      this.#waiting.delete(id);
    }
  }

  [Symbol.dispose](): void {
    this.#end('it was closed');
  }

  async #within<T>(ms: number, command: string, work: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(this.#failure(command, `no answer within ${ms} ms`)), ms);
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #flush(): void {
    try {
      for (let first = this.#unsent[0]; first !== undefined; first = this.#unsent[0]) {
        const sent = this.#socket.send(first.bytes, first.fds);
        if (sent === undefined) break;
        if (sent < first.bytes.length) this.#unsent[0] = { bytes: first.bytes.subarray(sent), fds: [] };
        else this.#unsent.shift();
      }
    } catch (e) {
      this.#fail((e as Error).message);
      return;
    }
    this.#watch.setInterest({ readable: true, writable: this.#unsent.length > 0 });
  }

  #read(): void {
    // One read for each time round the event loop: a QEMU that talks without end must not hold up the rest.
    let bytes: number;
    try {
      const received = this.#socket.receive(this.#buffer);
      if (received === undefined) return;
      bytes = received.bytes;
    } catch (e) {
      this.#fail((e as Error).message);
      return;
    }
    if (bytes === 0) {
      this.#fail('QEMU has closed the connection');
      return;
    }
    const lines = this.#lines.push(this.#buffer.subarray(0, bytes));
    if (lines === undefined) {
      this.#fail(`QEMU sent a line of more than ${MAX_QMP_LINE} bytes`);
      return;
    }
    for (const line of lines) {
      if (this.#closed) return;
      if (line.trim() === '') continue;
      const message = parseQmp(line);
      if (message === undefined) {
        this.#fail('QEMU sent what is no QMP message');
        return;
      }
      this.#take(message);
    }
  }

  #take(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#greeted.resolve(message.version);
        return;
      case 'event':
        this.#options.onEvent({ event: message.event, data: message.data });
        return;
      case 'return':
        // None waits for an answer that comes after its deadline.
        this.#waiting.get(message.id)?.resolve(message.value);
        return;
      case 'error': {
        const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id);
        waiting?.reject(this.#failure(waiting.command, message.why));
      }
    }
  }

  #fail(why: string): void {
    if (this.#closed) return;
    this.#end(why);
    this.#options.onClose(why);
  }

  #end(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
    closeSync(this.#fd);
    this.#greeted.reject(this.#failure('greeting', why));
    for (const { command, reject } of this.#waiting.values()) reject(this.#failure(command, why));
    this.#unsent.length = 0;
  }

  #failure(command: string, why: string): Error {
    return errors.VMM_ERR_QMP({ details: { vm: this.#options.vm, command, why } });
  }
}
