// One supervised child through all its incarnations: started, waited for, started again, ended.

import { sleep } from '../clock.ts';
import { errors } from '../core-errors.ts';
import type { Logger } from '../logging.ts';
import type { ProcessReport } from '../runtime-types.ts';
import { decideRestart } from './back-off.ts';
import { ChildHandle } from './handle.ts';
import { identify, type ProcessIdentity, ticksNow } from './identity.ts';
import { describeExit, type Incarnation } from './incarnation.ts';
import { climbDown } from './ladder.ts';
import { LaunchedProcess } from './launched.ts';
import { type LogFile, lastLines, openLogFile } from './log-file.ts';
import { lastOutput, OutputCapture } from './output.ts';
import { checkPlan, createPlan } from './plan.ts';
import { waitUntilReady } from './readiness.ts';
import type { ExitStatus, ProcessState, SpawnRequest } from './types.ts';
import type { ProcessWorld } from './world.ts';

/** A process that was found again; it is ready. */
export interface Found {
  readonly incarnation: Incarnation;
  readonly cookie: string;
  readonly logFile: string | undefined;
}

const DEFAULT_READY_MS = 10_000;
/** Ends remembered for the crash-loop limit. */
const MAX_ENDS = 1000;
const UNKNOWN: ExitStatus = { code: null, signal: null };

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Child {
  readonly plugin: string;
  readonly key: string;
  readonly kind: string;
  readonly detached: boolean;
  readonly data: unknown;
  /** Settles when it ended for good. */
  readonly exited: Promise<ExitStatus>;
  /** Called just before that. */
  onFinished: (() => void) | undefined;
  readonly #settle: (status: ExitStatus) => void;
  readonly #world: ProcessWorld;
  readonly #log: Logger;
  readonly #output: OutputCapture;
  readonly #cookie: string;
  readonly #logFile: string | undefined;
  /** Of the plugin instance that holds it; `undefined` when nobody does. */
  #request: SpawnRequest | undefined;
  #handle: ChildHandle | undefined;
  #incarnation: Incarnation | undefined;
  /** The process whose pipes are lent: the present one, or the last, which may have said more than was read yet. */
  #piped: Incarnation | undefined;
  #state: ProcessState = 'starting';
  #restarts = 0;
  #ends: readonly number[] = [];
  #waiters: Waiter[] = [];
  #stopping: Promise<ExitStatus> | undefined;
  /** Aborted when it is to run no longer, or is no longer ours to look after. */
  readonly #unwanted: AbortController = new AbortController();
  #released = false;
  /** The process that was told to end. */
  #asked: Incarnation | undefined;

  constructor(
    world: ProcessWorld,
    plugin: string,
    what: Pick<SpawnRequest, 'key' | 'kind' | 'detached' | 'data'>,
    found?: Found,
  ) {
    this.#world = world;
    this.plugin = plugin;
    this.key = what.key;
    this.kind = what.kind;
    this.detached = what.detached ?? false;
    this.data = what.data;
    this.#log = world.log.child({ plugin, process: what.key });
    this.#output = new OutputCapture(this.#log, world.clock);
    this.#cookie = found?.cookie ?? `${world.instance}/${plugin}/${what.key}`;
    this.#logFile = found?.logFile ?? (this.detached ? world.logFile(plugin, what.key) : undefined);
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    this.exited = promise;
    this.#settle = resolve;
    if (found === undefined) return;
    this.#incarnation = found.incarnation;
    this.#state = 'ready';
  }

  get name(): string {
    return `${this.plugin}/${this.key}`;
  }
  get state(): ProcessState {
    return this.#state;
  }
  get restarts(): number {
    return this.#restarts;
  }
  /** The process that runs now. */
  get incarnation(): Incarnation | undefined {
    return this.#incarnation?.live ? this.#incarnation : undefined;
  }
  get piped(): Incarnation | undefined {
    return this.#piped;
  }
  get pid(): number | undefined {
    return this.incarnation?.identity.pid;
  }
  /** It runs, or will again. */
  get live(): boolean {
    return this.#state !== 'exited' && this.#state !== 'crash-loop';
  }
  get log(): readonly string[] {
    return this.#logFile === undefined ? this.#output.lines : lastLines(this.#logFile);
  }

  report(): ProcessReport {
    const { plugin, key, kind, pid, state, restarts, detached } = this;
    return { plugin, key, kind, pid, state, restarts, detached };
  }

  // ---- who holds it -------------------------------------------------------------------------------------------------

  /** For the plugin instance that holds it now. */
  get handle(): ChildHandle {
    this.#handle ??= new ChildHandle(this);
    return this.#handle;
  }

  /** Takes the settings of whoever holds it now; argv, environment and limits count from the next incarnation on. */
  claim(request: SpawnRequest): void {
    this.#request = request;
  }

  /** Keeps nothing of the code that held it. It goes on as it is, and is started again should it end. */
  park(): void {
    this.#handle?.detach();
    this.#handle = undefined;
    if (this.#request === undefined) return;
    const { ask: _ask, ...plain } = this.#request;
    this.#request = plain;
  }

  /** As park(), for good: it goes on as long as it does by itself. */
  abandon(): void {
    this.park();
    this.#request = undefined;
  }

  /** Lets a detached child go its own way, since this runtime ends; the next one may have it. */
  async release(): Promise<void> {
    this.#released = true;
    this.#unwanted.abort();
    const incarnation = this.incarnation;
    if (incarnation === undefined) return;
    incarnation.release();
    await this.#record(incarnation.identity, this.#state === 'ready', 'nobody');
  }

  // ---- its life -------------------------------------------------------------------------------------------------------

  /** Starts it, or goes on with a process that was found. Once. What happens is told by ready() and `exited`. */
  begin(): void {
    void this.#live().catch((err: unknown) => this.#log.error({ err }, `looking after ${this.name} failed`));
  }

  /**
   * Of the next incarnation that becomes ready, or at once.
   * @throws CORE_ERR_SPAWN, CORE_ERR_SPAWN_PLAN, CORE_ERR_PROCESS_READY, CORE_ERR_PROCESS_EXITED
   */
  ready(): Promise<void> {
    if (this.#state === 'ready') return Promise.resolve();
    if (!this.live || this.#state === 'stopping') return Promise.reject(this.#gone('before it was waited for'));
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  async #live(): Promise<void> {
    for (let first = this.#incarnation === undefined; ; first = false) {
      const found = this.#incarnation !== undefined;
      const started = found || (await this.#tryStart(first));
      const status = await this.#awaitEnd();
      if (this.#released) return;
      const delayMs = await this.#afterEnd(status, !started);
      if (delayMs === undefined) return;
      this.#move('backoff');
      await sleep(this.#world.clock, delayMs, this.#unwanted.signal).catch(() => {});
      if (this.#released) return;
      if (this.#unwanted.signal.aborted) return this.#finish('exited', status);
      this.#restarts += 1;
      this.#move('starting');
    }
  }

  /** False when it did not become ready; then it is ended, as far as that is possible. */
  async #tryStart(first: boolean): Promise<boolean> {
    try {
      await this.#world.tracer.span('process', this.name, this.plugin, () => this.#start(), { step: 'start' });
      return true;
    } catch (error) {
      if (first) {
        // A first start that fails is for its caller to repeat: there is nothing yet that others rely on.
        this.#unwanted.abort();
        this.#move('stopping');
        for (const { reject } of this.#waiters.splice(0)) reject(error);
      } else {
        this.#log.warn({ err: error }, `${this.name} could not be started again`);
      }
      return false;
    }
  }

  #tellUnjailed(kind: string): void {
    const { toldUnjailed } = this.#world;
    const message = `${this.name} runs without the jail it asked for`;
    if (toldUnjailed.has(this.plugin)) this.#log.debug({ kind }, message);
    else this.#log.warn({ kind }, `${message}; so do others of ${this.plugin}, until a plugin jails them`);
    toldUnjailed.add(this.plugin);
  }

  async #start(): Promise<void> {
    const { callBeforeSpawn, deathSignal, emit } = this.#world;
    const { plugin, key, kind } = this;
    const request = this.#wanted();
    const asked = createPlan(request, plugin, this.#cookie);
    const plan = checkPlan(asked, await callBeforeSpawn(asked));
    if (plan.jail !== undefined) this.#tellUnjailed(kind);
    const setpriv = this.detached ? undefined : await deathSignal.setpriv();
    this.#wanted();
    this.#world.descriptorSeal.seal();
    const logFile = this.#logFile === undefined ? undefined : openLogFile(this.#logFile);
    const process = await LaunchedProcess.launch({
      plan,
      detached: this.detached,
      stdio: request.stdio ?? 'log',
      setpriv,
      output: this.#output,
      logFd: logFile?.fd,
      record: (identity) => this.#record(identity, false),
    });
    this.#incarnation = process;
    this.#piped = process;
    const { pid } = process.identity;
    emit('process:started', { plugin, key, kind, pid });
    try {
      this.#wanted();
      await this.#ready(process, request, logFile);
      if (this.detached) await this.#record(process.identity, true);
      this.#wanted();
    } catch (error) {
      await this.#climbDown(process, undefined).catch((err: unknown) => this.#log.error({ err }, String(err)));
      throw error;
    }
    this.#move('ready');
    emit('process:ready', { plugin, key, pid });
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }

  /** @throws CORE_ERR_PROCESS_EXITED when stop() came meanwhile, or nobody holds it any more */
  #wanted(): SpawnRequest {
    if (this.#request === undefined || this.#unwanted.signal.aborted) throw this.#gone('before it was ready');
    return this.#request;
  }

  async #ready(child: LaunchedProcess, request: SpawnRequest, logFile: LogFile | undefined): Promise<void> {
    const { ready = 'spawn', readyMs = DEFAULT_READY_MS } = request;
    const output = this.#output;
    const outcome = await waitUntilReady({ child, ready, readyMs, output, logFile, clock: this.#world.clock });
    if (outcome === 'ready') return;
    if (outcome === 'ended') throw this.#gone('before it was ready', await child.ended);
    const details = { name: this.name, ms: readyMs, output: lastOutput(this.log) };
    throw errors.CORE_ERR_PROCESS_READY({ plugin: this.plugin, details });
  }

  /** Waits for the process, if there is one, and for what it left behind to be gone. */
  async #awaitEnd(): Promise<ExitStatus> {
    const incarnation = this.#incarnation;
    if (incarnation === undefined) return UNKNOWN;
    const status = await incarnation.ended;
    if (this.#released) return status;
    const until = ticksNow();
    const { emit, sweeper } = this.#world;
    const { plugin, key } = this;
    const { pid } = incarnation.identity;
    emit('process:exited', { plugin, key, pid, ...status, expected: this.#asked === incarnation });
    await sweeper.sweep({ cookie: this.#cookie, leader: incarnation.identity, until });
    incarnation.release();
    this.#incarnation = undefined;
    return status;
  }

  /** Milliseconds until it is started again; `undefined`: that was it. */
  async #afterEnd(status: ExitStatus, neverReady: boolean): Promise<number | undefined> {
    if (this.#request === undefined || this.#unwanted.signal.aborted) {
      await this.#finish('exited', status);
      return undefined;
    }
    const { clock, random, emit } = this.#world;
    const { plugin, key, name } = this;
    const now = clock.now();
    this.#ends = [...this.#ends.slice(1 - MAX_ENDS), now];
    const decision = decideRestart(this.#request.restart, neverReady || status.code !== 0, this.#ends, now, random);
    const output = lastOutput(this.log);
    if (decision.what === 'restart') {
      const { delayMs } = decision;
      const message = `${name} ended (${describeExit(status)}) and is started again`;
      this.#log.warn({ delayMs: Math.round(delayMs), output }, message);
      return delayMs;
    }
    if (decision.what === 'crash-loop') {
      const { count, windowMs } = decision;
      const details = { name, plugin, count, ms: windowMs };
      const error = errors.CORE_ERR_PROCESS_CRASH_LOOP({ plugin, details });
      this.#log.error({ err: error, output }, error.message);
      await this.#finish('crash-loop', status, () => emit('process:crash-loop', { plugin, key, count }));
      return undefined;
    }
    await this.#finish('exited', status);
    return undefined;
  }

  async #finish(state: 'exited' | 'crash-loop', status: ExitStatus, announce?: () => void): Promise<void> {
    this.#output.flush();
    await this.#world.records.remove(this);
    this.#move(state);
    for (const { reject } of this.#waiters.splice(0)) reject(this.#gone('while it was waited for', status));
    announce?.();
    this.onFinished?.();
    this.#handle?.settle(status);
    this.#settle(status);
  }

  // ---- ending ---------------------------------------------------------------------------------------------------------

  /** @throws CORE_ERR_PROCESS_STUCK; whoever asks again after that tries again */
  stop(): Promise<ExitStatus> {
    this.#stopping ??= this.#world.tracer
      .span('process', this.name, this.plugin, () => this.#stop(), { step: 'stop' })
      .catch((error: unknown) => {
        this.#stopping = undefined;
        throw error;
      });
    return this.#stopping;
  }

  async #stop(): Promise<ExitStatus> {
    if (!this.live) return this.exited;
    // One that is still starting has nobody who could be asked.
    const ask = this.#state === 'ready' ? this.#request?.ask : undefined;
    const { handle, incarnation } = this;
    this.#move('stopping');
    this.#unwanted.abort();
    if (incarnation !== undefined) {
      await this.#climbDown(incarnation, ask === undefined ? undefined : () => ask(handle));
    }
    return this.exited;
  }

  #climbDown(process: Incarnation, ask: (() => void | Promise<void>) | undefined): Promise<void> {
    const { clock, tracer } = this.#world;
    const { name, plugin } = this;
    if (process.live) this.#asked = process;
    return climbDown({
      process,
      name,
      plugin,
      ask,
      stopMs: this.#request?.stopMs,
      clock,
      log: this.#log,
      onRung: (step) => tracer.point('process', name, plugin, { step, pid: process.identity.pid }),
    });
  }

  #move(state: ProcessState): void {
    this.#state = state;
    this.#world.tracer.point('process', this.name, this.plugin, { state, pid: this.pid });
  }

  #gone(when: string, status: ExitStatus = UNKNOWN): Error {
    const details = { name: this.name, how: describeExit(status), when, output: lastOutput(this.log) };
    return errors.CORE_ERR_PROCESS_EXITED({ plugin: this.plugin, details });
  }

  /** Says in the record that this runtime answers for a process that was found. */
  async recordAdoption(): Promise<void> {
    if (this.#incarnation !== undefined) await this.#record(this.#incarnation.identity, true);
  }

  async #record(process: ProcessIdentity, ready: boolean, answeredBy: 'us' | 'nobody' = 'us'): Promise<void> {
    const { plugin, key, kind, detached, data } = this;
    const runtime = answeredBy === 'us' ? identify('self') : undefined;
    await this.#world.records.write({
      version: 1,
      plugin,
      key,
      kind,
      cookie: this.#cookie,
      detached,
      ready,
      process,
      ...(runtime === undefined ? {} : { runtime }),
      ...(this.#logFile === undefined ? {} : { log: this.#logFile }),
      ...(detached && data !== undefined ? { data } : {}),
    });
  }
}
