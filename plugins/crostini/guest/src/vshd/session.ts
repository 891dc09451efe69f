// One connection of vsh: a request, a child, and what goes between them.

import type { Duplex, Readable } from 'node:stream';
import type { Message, MessageInit } from '@runtime/sdk/protobuf';
import { DataFrames } from '../../../src/vsh/data-frames.ts';
import { FrameParser, frames, malformedVsh } from '../../../src/vsh/framing.ts';
import { vshWire } from '../../../src/vsh/wire.ts';
import type { vshTable } from '../../../src/wire/vsh.ts';
import { type Child, startChild } from './child.ts';
import { type LaunchOptions, planLaunch, Refusal, type SetupRequest, windowSize } from './launch.ts';

type GuestMessage = Message<typeof vshTable, 'vm_tools.vsh.GuestMessage'>;
type HostMessage = MessageInit<typeof vshTable, 'vm_tools.vsh.HostMessage'>;
type OutputStream = 'STDOUT_STREAM' | 'STDERR_STREAM';

/** Until a client has said what it wants, ms. Fifty at once are heard only after the programs of each other were started. */
const SETUP_MS = 60_000;
/** Output of processes that outlive the child is given up when none came for so long, ms. */
const QUIET_MS = 300;
/** Between two looks whether a client that is not read from is still there, ms. */
const PROBE_MS = 1_000;
/** A message that says nothing. */
const NO_MESSAGE = new Uint8Array(0);
/** Messages kept while the child is being started. */
const EARLY_MAX = 64;
const SIGNALS: Readonly<Record<string, NodeJS.Signals>> = {
  SIGNAL_HUP: 'SIGHUP',
  SIGNAL_INT: 'SIGINT',
  SIGNAL_QUIT: 'SIGQUIT',
  SIGNAL_TERM: 'SIGTERM',
};

const output = (stream: OutputStream): DataFrames =>
  new DataFrames((data) => vshWire.encode('vm_tools.vsh.HostMessage', { data_message: { stream, data } }));
const OUTPUTS: Readonly<Record<OutputStream, DataFrames>> = {
  STDOUT_STREAM: output('STDOUT_STREAM'),
  STDERR_STREAM: output('STDERR_STREAM'),
};
const INPUT: DataFrames = new DataFrames((data) =>
  vshWire.encode('vm_tools.vsh.GuestMessage', { data_message: { stream: 'STDIN_STREAM', data } }),
);

/** Resolves when all is over; never rejects. */
export async function serveVsh(
  stream: Duplex,
  log: (line: string) => void,
  options: LaunchOptions = {},
): Promise<void> {
  const session = new Session(stream, log);
  await session.run(options);
}

class Session {
  readonly #stream: Duplex;
  readonly #log: (line: string) => void;
  readonly #parser: FrameParser = new FrameParser();
  readonly #request: PromiseWithResolvers<SetupRequest> = Promise.withResolvers();
  /** Aborted when the client has gone. */
  readonly #gone: AbortController = new AbortController();
  #isAsked = false;
  #child: Child | undefined;
  /** What came while the child was being started. */
  #early: GuestMessage[] = [];
  #isBlocked = false;
  #probe: NodeJS.Timeout | undefined;
  #outputAt = 0;

  constructor(stream: Duplex, log: (line: string) => void) {
    this.#stream = stream;
    this.#log = log;
    this.#request.promise.catch(() => {});
    stream.on('data', (chunk: Uint8Array) => this.#receive(chunk));
    stream.on('drain', () => this.#unblock());
    for (const event of ['end', 'error', 'close']) stream.on(event, () => this.#leave());
  }

  async run(options: LaunchOptions): Promise<void> {
    const timer = setTimeout(() => this.#stream.destroy(), SETUP_MS);
    try {
      const request = await this.#request.promise;
      clearTimeout(timer);
      const child = await this.#start(request, options);
      if (child !== undefined) await this.#serve(child);
    } catch (e) {
      if (!this.#gone.signal.aborted) this.#log(`vshd: ${e instanceof Error ? e.message : e}`);
    } finally {
      clearTimeout(timer);
      this.#stream.destroy();
    }
  }

  /** Undefined: it was refused, and the client knows. */
  async #start(request: SetupRequest, options: LaunchOptions): Promise<Child | undefined> {
    try {
      const child = await startChild(planLaunch(request, options));
      await this.#answer('READY', '', child.pid);
      return child;
    } catch (e) {
      const why = e instanceof Error ? e.message : String(e);
      if (!(e instanceof Refusal)) this.#log(`vshd: ${why}`);
      await this.#answer('FAILED', why.slice(0, 512), 0);
      await this.#finish();
      return undefined;
    }
  }

  async #serve(child: Child): Promise<void> {
    this.#child = child;
    child.stdin.on('drain', () => this.#readOn());
    // Nobody reads it any more: the rest of the input is nobody's.
    child.stdin.on('error', () => this.#readOn());
    child.stdin.on('close', () => this.#readOn());
    for (const message of this.#early.splice(0)) this.#handle(child, message);
    if (!child.stdin.writableNeedDrain) this.#readOn();
    const outputs = [this.#copy(child.stdout, 'STDOUT_STREAM')];
    if (child.stderr !== undefined) outputs.push(this.#copy(child.stderr, 'STDERR_STREAM'));
    const gone = new Promise<undefined>((resolve) => {
      if (this.#gone.signal.aborted) resolve(undefined);
      this.#gone.signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    try {
      const code = await Promise.race([child.exit, gone]);
      if (code === undefined) return;
      await Promise.race([Promise.all(outputs), this.#untilQuiet(), gone]);
      if (this.#gone.signal.aborted) return;
      this.#send({ status_message: { status: 'EXITED', code } });
      await this.#finish();
    } finally {
      child.hangUp();
    }
  }

  /** Resolves at its end. */
  #copy(output: Readable, stream: OutputStream): Promise<void> {
    output.on('data', (data: Uint8Array) => {
      this.#outputAt = performance.now();
      void this.#write(OUTPUTS[stream].of(data));
      if (this.#isBlocked) for (const one of this.#outputs()) one.pause();
    });
    return new Promise((resolve) => {
      output.on('end', () => {
        if (this.#child?.stderr !== undefined) this.#send({ data_message: { stream, data: NO_MESSAGE } });
        resolve();
      });
      for (const event of ['error', 'close']) output.on(event, () => resolve());
    });
  }

  #outputs(): readonly Readable[] {
    if (this.#child === undefined) return [];
    return this.#child.stderr === undefined ? [this.#child.stdout] : [this.#child.stdout, this.#child.stderr];
  }

  #unblock(): void {
    this.#isBlocked = false;
    this.#outputAt = performance.now();
    for (const output of this.#outputs()) output.resume();
  }

  async #untilQuiet(): Promise<void> {
    this.#outputAt = performance.now();
    do {
      await new Promise((resolve) => setTimeout(resolve, QUIET_MS / 3));
      // A timer that is late comes before what can be read by then.
      await new Promise((resolve) => setImmediate(resolve));
    } while (!this.#gone.signal.aborted && (this.#isBlocked || performance.now() - this.#outputAt < QUIET_MS));
  }

  #receive(chunk: Uint8Array): void {
    try {
      this.#parser.push(chunk, (message) => {
        const data = this.#child === undefined ? undefined : INPUT.dataOf(message);
        if (this.#child !== undefined && data !== undefined) return this.#input(this.#child, data);
        if (this.#isAsked) return this.#hear(vshWire.decode('vm_tools.vsh.GuestMessage', message));
        this.#isAsked = true;
        // Strings are copied as they are decoded; there are no bytes in it.
        this.#request.resolve(vshWire.decode('vm_tools.vsh.SetupConnectionRequest', message));
      });
    } catch (e) {
      this.#log(`vshd: ${malformedVsh('it cannot be decoded', e).message}`);
      this.#stream.destroy();
    }
  }

  #hear(message: GuestMessage): void {
    if (this.#child !== undefined) return this.#handle(this.#child, message);
    const data = message.data_message;
    this.#early.push(
      data === undefined ? message : { ...message, data_message: { ...data, data: Uint8Array.from(data.data) } },
    );
    if (this.#early.length >= EARLY_MAX) this.#readLater();
  }

  #handle(child: Child, { data_message, resize_message, signal }: GuestMessage): void {
    if (data_message?.stream === 'STDIN_STREAM') this.#input(child, data_message.data);
    if (resize_message !== undefined) child.resize(windowSize(resize_message.rows, resize_message.cols));
    const name = typeof signal === 'string' ? SIGNALS[signal] : undefined;
    if (name !== undefined) child.signal(name);
  }

  #input({ stdin }: Child, data: Uint8Array): void {
    if (stdin.destroyed || stdin.writableEnded) return;
    if (data.length === 0) stdin.end();
    else if (!stdin.write(Buffer.from(data))) this.#readLater();
  }

  /** The child has to read first. Meanwhile only writing tells whether the client is still there. */
  #readLater(): void {
    this.#stream.pause();
    this.#probe ??= setInterval(() => this.#write(frames([NO_MESSAGE])), PROBE_MS);
  }

  #readOn(): void {
    clearInterval(this.#probe);
    this.#probe = undefined;
    this.#stream.resume();
  }

  #leave(): void {
    clearInterval(this.#probe);
    if (this.#gone.signal.aborted) return;
    this.#gone.abort();
    this.#request.reject(new Error('it has gone'));
  }

  #answer(status: 'READY' | 'FAILED', description: string, pid: number): Promise<void> {
    return this.#write(frames([vshWire.encode('vm_tools.vsh.SetupConnectionResponse', { status, description, pid })]));
  }

  #send(message: HostMessage): void {
    void this.#write(frames([vshWire.encode('vm_tools.vsh.HostMessage', message)]));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#stream.destroyed || this.#stream.writableEnded) return;
    if (!this.#stream.write(bytes)) this.#isBlocked = true;
  }

  /** Resolves when the client has all. */
  async #finish(): Promise<void> {
    this.#readOn();
    await new Promise<void>((resolve) => {
      this.#stream.end(resolve);
      this.#stream.on('close', () => resolve());
      if (this.#stream.destroyed) resolve();
    });
  }
}
