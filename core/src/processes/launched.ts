// A process that this runtime started.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { errors } from '../core-errors.ts';
import { identify, type ProcessIdentity } from './identity.ts';
import type { Incarnation } from './incarnation.ts';
import { lastOutput, type OutputCapture } from './output.ts';
import { readyFd } from './plan.ts';
import type { ExitStatus, SpawnPlan } from './types.ts';
import { findProgram, findTool, GATE_LINE, GATE_SHUT, isComplaint, progress, type Wrapped, wrap } from './wrappers.ts';

export interface LaunchOptions {
  readonly plan: SpawnPlan;
  readonly detached: boolean;
  readonly stdio: 'log' | 'pipe';
  readonly setpriv: string | undefined;
  readonly output: OutputCapture;
  /** Output of a detached child; closed here once the child has it. */
  readonly logFd: number | undefined;
  /** Makes the child known to the next runtime. The program starts only after this. */
  readonly record: (identity: ProcessIdentity) => Promise<void>;
}

/** Milliseconds between looks at whether the program has begun; it takes about two. */
const LOOK_MS = [1, 1, 1, 2, 5, 10, 25];
/** Milliseconds for the output of a process that ended to arrive. */
const DRAIN_MS = 200;
/** A process that shows no command line for so many looks has wiped it: then it has begun. */
const UNCLEAR_LOOKS = 40;

export class LaunchedProcess implements Incarnation {
  readonly identity: ProcessIdentity;
  readonly ended: Promise<ExitStatus>;
  /** Where the child writes READY=1, if it is to. */
  readonly readySocket: Readable | undefined;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly #child: ChildProcess;
  readonly #plan: SpawnPlan;
  #live = true;

  /**
   * Resolves when the program itself runs, or did.
   * @throws CORE_ERR_SPAWN, CORE_ERR_SPAWN_PLAN, CORE_ERR_DOCUMENT; nothing is left running then
   */
  static async launch(options: LaunchOptions): Promise<LaunchedProcess> {
    let launched: LaunchedProcess;
    const { plan, detached, logFd, output } = options;
    let wrapped: Wrapped;
    try {
      wrapped = wrapPlan(options);
      launched = await LaunchedProcess.#fork(options, wrapped);
    } finally {
      if (logFd !== undefined) closeSync(logFd);
    }
    try {
      await options.record(launched.identity);
      if (plan.cgroup !== undefined) await enterCgroup(plan, plan.cgroup, launched.identity.pid);
      launched.#openGate(options.stdio);
      await launched.#executed(wrapped, output);
    } catch (e) {
      launched.#signalAll('SIGKILL');
      await launched.ended;
      throw e;
    }
    if (detached) launched.#child.unref();
    return launched;
  }

  static #fork(options: LaunchOptions, wrapped: Wrapped): Promise<LaunchedProcess> {
    const { plan } = options;
    const [file, ...args] = wrapped.argv;
    options.output.begin();
    let child: ChildProcess;
    try {
      child = spawn(file, args, {
        env: { ...plan.env },
        // setsid(2): a group of its own, which signals reach as a whole, and no part in the terminal's Ctrl-C.
        detached: true,
        stdio: descriptors(options),
        ...(plan.cwd === undefined ? {} : { cwd: plan.cwd }),
      });
    } catch (e) {
      // Such as EBADF for a descriptor that is not open.
      return Promise.reject(spawnError(plan, e instanceof Error ? e.message : String(e)));
    }
    const identity = child.pid === undefined ? undefined : identify(child.pid);
    if (identity !== undefined) return Promise.resolve(new LaunchedProcess(child, identity, options));
    return new Promise((_resolve, reject) => {
      const fail = (why: string): void => reject(spawnError(plan, why));
      child.once('error', (e) => fail(e.message));
      child.once('exit', () => fail('it ended at once'));
    });
  }

  constructor(child: ChildProcess, identity: ProcessIdentity, options: LaunchOptions) {
    const { plan, output, stdio, detached } = options;
    this.#child = child;
    this.#plan = plan;
    this.identity = identity;
    this.ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#live = false;
        resolve({ code, signal });
      });
    });
    // Without a listener, a child that ends before it has read all would end the runtime.
    child.stdin?.on('error', () => {});
    child.on('error', () => {});
    const ready = readyFd(plan);
    this.readySocket = ready === undefined ? undefined : (child.stdio[ready] as Readable);
    this.readySocket?.on('error', () => {});
    if (stdio === 'pipe') {
      this.stdin = child.stdin ?? undefined;
      this.stdout = child.stdout ?? undefined;
      // Node throws away what nobody listens for once the child has ended. With this it stays until it is read.
      child.stdout?.on('readable', () => {});
      child.stdout?.on('error', () => {});
    } else if (!detached && child.stdout !== null) {
      output.capture(child.stdout, 'stdout');
    }
    if (!detached && child.stderr !== null) output.capture(child.stderr, 'stderr');
  }

  get live(): boolean {
    return this.#live;
  }

  signal(signal: NodeJS.Signals): boolean {
    // libuv waits for its children in this thread: until it says that one ended, its number is taken.
    return this.#live && this.#child.kill(signal);
  }

  async signalGroup(signal: NodeJS.Signals): Promise<void> {
    this.#signalAll(signal);
  }

  #signalAll(signal: NodeJS.Signals): void {
    if (!this.#live) return;
    try {
      process.kill(-this.identity.pid, signal);
    } catch {
      // Not in the session yet, or not ours to signal any more (a jail changed its user): then at least itself.
      this.#child.kill(signal);
    }
  }

  release(): void {
    this.#child.unref();
    this.readySocket?.destroy();
  }

  #openGate(stdio: 'log' | 'pipe'): void {
    if (stdio === 'pipe') this.#child.stdin?.write(GATE_LINE);
    else this.#child.stdin?.end(GATE_LINE);
  }

  async #executed(wrapped: Wrapped, output: OutputCapture): Promise<void> {
    let unclear = 0;
    for (let look = 0; this.#live; look += 1) {
      const step = progress(this.identity.pid, wrapped);
      if (step === 'executed') return;
      unclear = step === 'unclear' ? unclear + 1 : 0;
      if (unclear > UNCLEAR_LOOKS) return;
      await Promise.race([pause(LOOK_MS[look] ?? 25), this.ended]);
    }
    await this.drained();
    const { code } = await this.ended;
    const complaint = output.freshLines.find(isComplaint);
    // It ended before it was seen: fine if it was the program that ended.
    if (code !== GATE_SHUT && complaint === undefined) return;
    throw spawnError(this.#plan, complaint ?? lastOutput(output.freshLines));
  }

  /** The last words of a process that ended have arrived, or somebody else holds its output open. */
  async drained(): Promise<void> {
    const streams = [this.#child.stdout, this.#child.stderr].filter(
      (s) => s !== null && !s.closed && s !== this.stdout,
    );
    const closed = streams.map((stream) => new Promise((resolve) => stream?.once('close', resolve)));
    await Promise.race([Promise.all(closed), pause(DRAIN_MS)]);
  }
}

function spawnError(plan: SpawnPlan, why: string): Error {
  const details = { name: `${plan.plugin}/${plan.key}`, file: plan.argv[0], why };
  return errors.CORE_ERR_SPAWN({ plugin: plan.plugin, details });
}

function planError(plan: SpawnPlan, why: string, cause?: unknown): Error {
  return errors.CORE_ERR_SPAWN_PLAN({
    plugin: plan.plugin,
    cause,
    details: { name: `${plan.plugin}/${plan.key}`, why },
  });
}

function wrapPlan({ plan, detached, stdio, setpriv }: LaunchOptions): Wrapped {
  const program = findProgram(plan);
  if ('why' in program) throw spawnError(plan, program.why);
  const prlimit = plan.rlimits.length > 0 ? findTool('prlimit') : undefined;
  if (plan.rlimits.length > 0 && prlimit === undefined) {
    throw planError(plan, 'its resource limits need prlimit of util-linux, which is missing');
  }
  return wrap({ plan, file: program.file, setpriv, prlimit, tied: !detached, keepStdin: stdio === 'pipe' });
}

type Descriptor = 'pipe' | 'ignore' | number;

function descriptors({ plan, detached, logFd }: LaunchOptions): Descriptor[] {
  const output = detached && logFd !== undefined ? logFd : 'pipe';
  const out: Descriptor[] = ['pipe', output, output];
  for (const { child, parent } of plan.fds) out[child] = parent;
  const ready = readyFd(plan);
  if (ready !== undefined) out[ready] = 'pipe';
  // Numbers between that nobody asked for stay closed in the child.
  return Array.from(out, (descriptor) => descriptor ?? 'ignore');
}

async function enterCgroup(plan: SpawnPlan, folder: string, pid: number): Promise<void> {
  try {
    await writeFile(join(folder, 'cgroup.procs'), String(pid), { flag: 'r+' });
  } catch (cause) {
    const why = `it cannot be moved to the cgroup ${folder}: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw planError(plan, why, cause);
  }
}
