// vsh's end on the host: a command in a guest as three streams and an exit code.

import { connect, type Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';
import type { Message, MessageInit } from '@runtime/sdk/protobuf';
import { errors } from '../errors.ts';
import type { vshTable } from '../wire/vsh.ts';
import { DataFrames } from './data-frames.ts';
import { FrameParser, frames, MESSAGE_MAX, malformedVsh } from './framing.ts';
import { vshWire } from './wire.ts';

export interface VshWindow {
  /** 0 to 65,535, as are the columns. */
  readonly rows: number;
  readonly columns: number;
}
export type VshSignal = 'SIGHUP' | 'SIGINT' | 'SIGQUIT' | 'SIGTERM';

export interface VshOptions {
  /** A Unix socket that is the connection to port 9001 of the guest: `<directory>/vsock.sock.g9001`. */
  readonly socketPath: string;
  /** That connection, made already; `socketPath` then is only what errors name. */
  readonly connection?: Socket;
  /** A container; default: the VM itself. */
  readonly target?: string;
  /** Default: the guest's, which is chronos, or root where there is none. */
  readonly user?: string;
  /** Program and arguments. Neither this nor `command`: the user's login shell. */
  readonly argv?: readonly string[];
  /** For the user's shell. */
  readonly command?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the user's home. */
  readonly cwd?: string;
  /** In its place: where a process of the guest is, if that can be told. */
  readonly cwdPid?: number;
  /** With a terminal of this size; default: pipes. */
  readonly pty?: VshWindow | undefined;
  /** Until the guest has answered; default 30,000: one whose CPU is emulated may have fifty to begin at once. */
  readonly connectMs?: number;
  /** Ends the connection, whatever it is doing; what runs in the guest gets SIGHUP. */
  readonly signal?: AbortSignal;
}

export interface VshSession extends Disposable {
  /** In the guest. */
  readonly pid: number;
  /** Ending it is the end of the command's input. */
  readonly stdin: Writable;
  /** Both have to be read: one that is not stops the other, since nothing is kept without bounds. */
  readonly stdout: Readable;
  /** Nothing comes with a terminal. */
  readonly stderr: Readable;
  /**
   * 0 to 255; 128 and the number of a signal that ended it. Resolves once all output is in the streams.
   * Rejects with CROSTINI_ERR_VSH_LOST, CROSTINI_ERR_VSH_FRAME, or the reason of the signal.
   */
  readonly exit: Promise<number>;
  resize(window: VshWindow): void;
  signal(signal: VshSignal): void;
}

type HostMessage = Message<typeof vshTable, 'vm_tools.vsh.HostMessage'>;
type GuestMessage = MessageInit<typeof vshTable, 'vm_tools.vsh.GuestMessage'>;
type ConnectionStatus = { readonly status: string | number; readonly description: string };

const INPUT: DataFrames = new DataFrames((data) =>
  vshWire.encode('vm_tools.vsh.GuestMessage', { data_message: { stream: 'STDIN_STREAM', data } }),
);
const OUTPUT: DataFrames = new DataFrames((data) =>
  vshWire.encode('vm_tools.vsh.HostMessage', { data_message: { stream: 'STDOUT_STREAM', data } }),
);

const END_OF_INPUT: Uint8Array = vshWire.encode('vm_tools.vsh.GuestMessage', {
  data_message: { stream: 'STDIN_STREAM', data: new Uint8Array(0) },
});

const CONNECT_MS = 30_000;
const VM_SHELL = '/vm_shell';
/** Kept of each stream before the guest has to wait. */
const BUFFERED_BYTES = 256 * 1024;
const SIGNALS: Readonly<Record<VshSignal, 'SIGNAL_HUP' | 'SIGNAL_INT' | 'SIGNAL_QUIT' | 'SIGNAL_TERM'>> = {
  SIGHUP: 'SIGNAL_HUP',
  SIGINT: 'SIGNAL_INT',
  SIGQUIT: 'SIGNAL_QUIT',
  SIGTERM: 'SIGNAL_TERM',
};

/**
 * Resolves when the command runs.
 * @throws CROSTINI_ERR_VSH_UNREACHABLE, CROSTINI_ERR_VSH_REFUSED, CROSTINI_ERR_VSH_TOO_LONG, CROSTINI_ERR_VSH_FRAME
 */
export async function openVsh(options: VshOptions): Promise<VshSession> {
  options.signal?.throwIfAborted();
  const client = new VshClient(options, setupMessage(options));
  await client.ready;
  return client;
}

function setupMessage(options: VshOptions): Buffer {
  const { target = VM_SHELL, user = '', argv = [], command = '', env = {}, cwd = '', cwdPid = 0, pty } = options;
  const message = vshWire.encode('vm_tools.vsh.SetupConnectionRequest', {
    ...{ target, user, argv, command, cwd, cwd_pid: cwdPid, env: new Map(Object.entries(env)) },
    ...(pty === undefined ? { nopty: true } : { window_rows: pty.rows, window_cols: pty.columns }),
  });
  if (message.length > MESSAGE_MAX) {
    throw errors.CROSTINI_ERR_VSH_TOO_LONG({ details: { bytes: message.length, limit: MESSAGE_MAX } });
  }
  return frames([message]);
}

class VshClient implements VshSession {
  readonly ready: Promise<void>;
  readonly exit: Promise<number>;
  readonly stdin: Writable;
  readonly stdout: Readable = this.#output();
  readonly stderr: Readable = this.#output();
  readonly #socket: Socket;
  readonly #where: string;
  readonly #parser: FrameParser = new FrameParser();
  readonly #ready: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #exit: PromiseWithResolvers<number> = Promise.withResolvers();
  readonly #signal: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;
  #pid: number | undefined;
  #isOver = false;
  /** Those that have more than they should keep. */
  readonly #full: Set<Readable> = new Set();

  constructor({ socketPath, connection, connectMs = CONNECT_MS, signal }: VshOptions, setup: Buffer) {
    this.#where = socketPath;
    this.#signal = signal;
    this.ready = this.#ready.promise;
    this.exit = this.#exit.promise;
    // Whoever only reads the output learns of a failure there.
    this.exit.catch(() => {});
    this.#socket = connection ?? connect(socketPath);
    this.#socket.write(setup);
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (e) => this.#fail(this.#lost(e)));
    this.#socket.on('close', () => this.#fail(this.#lost(undefined)));
    this.stdin = this.#input();
    this.#timer = setTimeout(() => this.#fail(this.#unreachable(`no answer within ${connectMs / 1000} s`)), connectMs);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get pid(): number {
    return this.#pid ?? 0;
  }

  resize({ rows, columns }: VshWindow): void {
    this.#send({ resize_message: { rows, cols: columns } });
  }

  signal(signal: VshSignal): void {
    this.#send({ signal: SIGNALS[signal] });
  }

  [Symbol.dispose](): void {
    this.#fail(this.#lost(undefined));
  }

  readonly #onAbort = (): void => this.#fail(this.#signal?.reason);

  #output(): Readable {
    const stream: Readable = new Readable({
      highWaterMark: BUFFERED_BYTES,
      read: () => {
        this.#full.delete(stream);
        if (this.#full.size === 0) this.#socket?.resume();
      },
    });
    // Told by `exit`; a stream that nobody reads must not end the process.
    stream.on('error', () => {});
    return stream;
  }

  #input(): Writable {
    const stdin = new Writable({
      write: (chunk: Uint8Array, _encoding, done) => this.#write(INPUT.of(chunk), done),
      final: (done) => this.#write(frames([END_OF_INPUT]), done),
    });
    stdin.on('error', () => {});
    return stdin;
  }

  #write(bytes: Uint8Array, done: (error?: Error | null) => void): void {
    // A command that has ended takes no more, which is no failure of whoever writes.
    if (this.#isOver) done();
    else this.#socket.write(bytes, () => done());
  }

  #send(message: GuestMessage): void {
    if (!this.#isOver) this.#socket.write(frames([vshWire.encode('vm_tools.vsh.GuestMessage', message)]));
  }

  #receive(chunk: Uint8Array): void {
    if (this.#isOver) return;
    try {
      this.#parser.push(chunk, (message) => !this.#isOver && this.#hear(message));
    } catch (e) {
      const isCoded = (e as { code?: unknown }).code === 'CROSTINI_ERR_VSH_FRAME';
      this.#fail(isCoded ? e : malformedVsh('it cannot be decoded', e));
    }
  }

  #hear(message: Uint8Array): void {
    if (this.#pid === undefined) {
      this.#setUp(vshWire.decode('vm_tools.vsh.SetupConnectionResponse', message));
      return;
    }
    const output = OUTPUT.dataOf(message);
    if (output !== undefined) return this.#data('STDOUT_STREAM', output);
    const { data_message, status_message } = vshWire.decode('vm_tools.vsh.HostMessage', message) as HostMessage;
    if (data_message !== undefined) this.#data(data_message.stream, data_message.data);
    if (status_message === undefined) return;
    if (status_message.status === 'EXITED') this.#end(status_message.code & 0xff);
    else if (status_message.status === 'FAILED') this.#fail(refused(status_message));
  }

  #setUp({ status, description, pid }: ConnectionStatus & { readonly pid: number }): void {
    clearTimeout(this.#timer);
    if (status !== 'READY') return this.#fail(refused({ status, description }));
    this.#pid = pid;
    this.#ready.resolve();
  }

  #data(stream: string | number, data: Uint8Array): void {
    const output = stream === 'STDOUT_STREAM' ? this.stdout : stream === 'STDERR_STREAM' ? this.stderr : undefined;
    if (output === undefined || output.readableEnded || output.destroyed) return;
    // The end of a stream comes with the exit as well.
    if (data.length === 0) return;
    if (output.push(Buffer.from(data))) return;
    this.#full.add(output);
    this.#socket.pause();
  }

  #end(code: number): void {
    if (!this.#over()) return;
    this.stdout.push(null);
    this.stderr.push(null);
    this.#exit.resolve(code);
  }

  #fail(error: unknown): void {
    if (!this.#over()) return;
    const cause = error instanceof Error ? error : undefined;
    this.stdout.destroy(cause);
    this.stderr.destroy(cause);
    this.#ready.reject(error);
    this.#exit.reject(error);
  }

  /** False: it was already. */
  #over(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#socket.destroy();
    // Whoever waits for what was written goes on.
    this.stdin?.destroy();
    return true;
  }

  #lost(cause: unknown): Error {
    if (this.#pid !== undefined) return errors.CROSTINI_ERR_VSH_LOST({ cause });
    return this.#unreachable(cause instanceof Error ? cause.message : 'the connection was closed', cause);
  }

  #unreachable(why: string, cause?: unknown): Error {
    return errors.CROSTINI_ERR_VSH_UNREACHABLE({ details: { where: this.#where, why }, cause });
  }
}

/** What a guest says is cut to what can be shown. */
function refused({ status, description }: ConnectionStatus): Error {
  const why = description.slice(0, 512) || `it answered ${String(status)}`;
  return errors.CROSTINI_ERR_VSH_REFUSED({ details: { why } });
}
