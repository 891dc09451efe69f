// VMs through the commands of plugin `crostini`: what `runtime start`, `exec`, `cp` and `stop` do, for programs.

import { randomBytes } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { Latest, type TerminalSize } from '@runtime/core';
import type { CommandItem, CommandOutput, ControlClient, RunCommandParams } from '@runtime/core/control';
import { errors } from '../errors.ts';

export interface StartOptions {
  /** 1 to 60 bytes; default: one of its own. */
  readonly name?: string;
  /** `full`, the default, has what containers need; `fast` runs commands and starts sooner. */
  readonly profile?: 'full' | 'fast';
  readonly cpus?: number;
  readonly memoryMib?: number;
  /** From its start until its guest answers. */
  readonly timeoutSeconds?: number;
  /** Ends the start. */
  readonly signal?: AbortSignal;
  /** Stages as they begin; the first start makes the image, which takes minutes. */
  readonly onProgress?: (stage: string, fraction: number | undefined) => void;
}

export interface GuestOptions {
  /** In the guest, by name or number; default chronos. */
  readonly user?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Default: the home of the user. */
  readonly cwd?: string;
  /** Interrupts the command (SIGINT, and SIGHUP soon after). */
  readonly signal?: AbortSignal;
}

export interface ExecOptions extends GuestOptions {
  readonly input?: string | Uint8Array;
  /** Of standard output and standard error together, default 16 MiB; more ends the command. */
  readonly maxBytes?: number;
}

export interface SpawnOptions extends GuestOptions {
  /** With a terminal of this size; default: pipes. */
  readonly pty?: TerminalSize;
}

export interface ExecResult {
  /** 0 to 255; 128 and the number of a signal that ended it. */
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** A command under way. Disposing of it interrupts it and waits. */
export interface GuestProcess extends AsyncDisposable {
  readonly stdin: Writable;
  /** Both have to be read: one that is not stops the other. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** As ExecResult.code. Rejects when the command was not run, or its VM has gone. */
  readonly exit: Promise<number>;
  /** Nothing happens on pipes. */
  resize(size: TerminalSize): void;
  interrupt(): void;
}

/** A VM that runs. Disposing of it stops it. */
export interface Vm extends AsyncDisposable {
  readonly name: string;
  /** Runs a command to its end. A code that is not 0 is no error. @throws CROSTINI_ERR_NOT_RUN, SDK_ERR_OUTPUT_TOO_LONG */
  exec(argv: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  spawn(argv: readonly string[], options?: SpawnOptions): GuestProcess;
  /** A file or folder of this machine, relative to the working folder. @throws CROSTINI_ERR_COPY */
  copyIn(source: string, target: string, options?: Pick<GuestOptions, 'user' | 'signal'>): Promise<void>;
  /** @throws CROSTINI_ERR_COPY */
  copyOut(source: string, target: string, options?: Pick<GuestOptions, 'user' | 'signal'>): Promise<void>;
  stop(): Promise<void>;
}

export interface Vms {
  /** Resolves when commands can be run in it. @throws CROSTINI_ERR_… */
  start(options?: StartOptions): Promise<Vm>;
  /** One that runs already; nothing is asked yet. Disposing of it stops it, too. */
  get(name: string): Vm;
  /** Names of those that run. */
  list(): Promise<readonly string[]>;
}

const MAX_BYTES = 16 * 1024 * 1024;
/** Kept of a stream before the guest has to wait. */
const BUFFERED_BYTES = 256 * 1024;

export function createVms(control: ControlClient): Vms {
  return {
    async start(options = {}) {
      const { name = `vm-${randomBytes(4).toString('hex')}`, profile, cpus, memoryMib, timeoutSeconds } = options;
      const given = Object.entries({ profile, cpus, mem: memoryMib?.toString(), timeout: timeoutSeconds });
      await run(control, 'start', [name], Object.fromEntries(given.filter(([, value]) => value !== undefined)), {
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        item: (item) => item.kind === 'progress' && options.onProgress?.(item.stage, item.fraction),
      });
      return createVm(control, name);
    },
    get: (name) => createVm(control, name),
    async list() {
      let names = '';
      await run(
        control,
        'list',
        [],
        { quiet: true },
        { item: (item) => (names += item.kind === 'out' ? item.text : '') },
      );
      return names.split('\n').filter((name) => name !== '');
    },
  };
}

type Output = Omit<CommandOutput, 'item'> & { readonly item?: (item: CommandItem) => unknown };

function run(
  control: ControlClient,
  name: string,
  args: readonly string[],
  options: Readonly<Record<string, unknown>>,
  { item, ...output }: Output = {},
  terminal?: RunCommandParams['terminal'],
): Promise<number> {
  const params = { name, args, options, cwd: process.cwd(), ...(terminal === undefined ? {} : { terminal }) };
  return control.runCommand(params, { ...output, item: async (one) => void (await item?.(one)) });
}

function createVm(control: ControlClient, name: string): Vm {
  const spawn = (argv: readonly string[], options: SpawnOptions = {}): GuestProcess =>
    spawnInGuest(control, name, argv, options);
  const copy = async (
    [from, to]: readonly [string, string],
    { user, signal }: Pick<GuestOptions, 'user' | 'signal'> = {},
  ): Promise<void> => {
    await run(control, 'cp', [from, to], user === undefined ? {} : { user }, signal === undefined ? {} : { signal });
  };
  const stop = async (): Promise<void> => void (await run(control, 'stop', [name], {}));
  return {
    name,
    spawn,
    exec: (argv, options = {}) => collect(spawn(argv, options), options),
    // A path of this machine must not look like one of a VM.
    copyIn: (source, target, options) =>
      copy([source.includes('/') ? source : `./${source}`, `${name}:${target}`], options),
    copyOut: (source, target, options) =>
      copy([`${name}:${source}`, target.includes('/') ? target : `./${target}`], options),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function collect(child: GuestProcess, { input = '', maxBytes = MAX_BYTES }: ExecOptions): Promise<ExecResult> {
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  let left = maxBytes;
  const read = async (stream: Readable, into: Buffer[]): Promise<void> => {
    for await (const chunk of stream) {
      left -= chunk.length;
      if (left < 0) throw errors.SDK_ERR_OUTPUT_TOO_LONG({ details: { limit: maxBytes } });
      into.push(chunk);
    }
  };
  child.stdin.end(input);
  try {
    const [code] = await Promise.all([child.exit, read(child.stdout, stdout), read(child.stderr, stderr)]);
    return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
  } catch (e) {
    child.interrupt();
    throw e;
  }
}

function spawnInGuest(
  control: ControlClient,
  vm: string,
  argv: readonly string[],
  { user, env = {}, cwd, pty, signal }: SpawnOptions,
): GuestProcess {
  const interrupted = new AbortController();
  const sizes = new Latest<TerminalSize>();
  const input = new InputQueue();
  const [stdout, stderr] = [new OutputStream(), new OutputStream()];
  const options = {
    ...{ tty: pty !== undefined, env: Object.entries(env).map(([key, value]) => `${key}=${value}`) },
    ...(user === undefined ? {} : { user }),
    ...(cwd === undefined ? {} : { workdir: cwd }),
  };
  const exit = run(
    ...([control, 'exec', [vm, ...argv], options] as const),
    {
      input: input.chunks,
      resizes: sizes,
      signal: signal === undefined ? interrupted.signal : AbortSignal.any([signal, interrupted.signal]),
      item: (item) => {
        if (item.kind === 'bytes') return stdout.take(item.bytes);
        return item.kind === 'err-bytes' ? stderr.take(item.bytes) : undefined;
      },
    },
    pty === undefined ? undefined : { ...pty, isTTY: true, inputIsTTY: true },
  );
  const over = (error?: Error): void => {
    sizes.end();
    input.stream.destroy();
    for (const output of [stdout, stderr]) output.finish(error);
  };
  exit.then(
    () => over(),
    (e: Error) => over(e),
  );
  return {
    ...{ stdin: input.stream, stdout: stdout.stream, stderr: stderr.stream, exit },
    resize: (size) => sizes.set(size),
    interrupt: () => interrupted.abort(),
    async [Symbol.asyncDispose]() {
      interrupted.abort();
      for (const output of [stdout, stderr]) output.stream.resume();
      await exit.catch(() => {});
    },
  };
}

/** What is written, for whoever asks for the next piece. */
class InputQueue {
  readonly stream: Writable;
  readonly chunks: AsyncIterable<Uint8Array>;

  constructor() {
    let waiting: ((result: IteratorResult<Uint8Array>) => void) | undefined;
    let offered: { readonly result: IteratorResult<Uint8Array>; readonly taken: () => void } | undefined;
    const offer = (result: IteratorResult<Uint8Array>, taken: () => void): void => {
      if (waiting === undefined) {
        offered = { result, taken };
      } else {
        waiting(result);
        waiting = undefined;
        taken();
      }
    };
    this.stream = new Writable({
      write: (chunk: Uint8Array, _encoding, done) => offer({ done: false, value: chunk }, () => done()),
      final: (done) => offer({ done: true, value: undefined }, () => done()),
    });
    // A command that has ended takes no more, which its exit tells.
    this.stream.on('error', () => {});
    const next = (): Promise<IteratorResult<Uint8Array>> =>
      new Promise((resolve) => {
        if (offered === undefined) {
          waiting = resolve;
          return;
        }
        const { result, taken } = offered;
        offered = undefined;
        resolve(result);
        taken();
      });
    this.chunks = { [Symbol.asyncIterator]: () => ({ next }) };
  }
}

class OutputStream {
  readonly stream: Readable;
  #read: () => void = () => {};

  constructor() {
    this.stream = new Readable({ highWaterMark: BUFFERED_BYTES, read: () => this.#read() });
    this.stream.on('error', () => {});
    this.stream.on('close', () => this.#read());
  }

  /** Resolves when more may come. */
  async take(bytes: Uint8Array): Promise<void> {
    if (this.stream.destroyed || this.stream.push(Buffer.from(bytes))) return;
    await new Promise<void>((resolve) => {
      this.#read = resolve;
    });
  }

  finish(error: Error | undefined): void {
    if (error === undefined) this.stream.push(null);
    else this.stream.destroy(error);
  }
}
