// The one LXD of a VM: started when the host asks, and again when it ends without being asked to.

import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LxdClient } from '../lxd/client.ts';
import type { EventSubscription } from '../lxd/events.ts';
import type { Json } from '../lxd/json.ts';
import type { Log } from '../maitred/log.ts';

export interface LxdServerOptions {
  /** LXD_DIR */
  readonly folder: string;
  readonly command: readonly string[];
  readonly log: Log;
  /** What must be in it before it can be used; called whenever it has started. */
  readonly prepare: (client: LxdClient) => Promise<void>;
  readonly onStatus: (status: LxdStatus, reason: string) => void;
  readonly onLifecycle: (event: Json) => void;
}

export type LxdStatus = 'STARTING' | 'RECOVERING' | 'STARTED' | 'FAILED';

/** Under an emulated CPU it takes 5 to 15 s. */
const READY_MS = 120_000;
const POLL_MS = 50;
/** Whoever ends more often than this is not started again. */
const RECOVERIES_MAX = 10;
const RECOVERY_WINDOW_MS = 300_000;

export class LxdServer {
  readonly client: LxdClient;
  readonly #options: LxdServerOptions;
  #state: 'stopped' | 'starting' | 'running' | 'ended' = 'stopped';
  #events: EventSubscription | undefined;
  #recoveries: readonly number[] = [];

  constructor(options: LxdServerOptions) {
    this.#options = options;
    this.client = new LxdClient(join(options.folder, 'unix.socket'));
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  /** Takes over one that runs already, as after the end of a tremplin. */
  async adopt(): Promise<void> {
    if (this.#state === 'stopped' && (await this.client.ready())) await this.#bringUp('STARTING', false);
  }

  /**
   * What becomes of it is told by `onStatus`.
   * @param reset forgets all containers, without removing their files
   */
  start(reset: boolean): 'STARTING' | 'ALREADY_RUNNING' {
    if (this.#state === 'running') return 'ALREADY_RUNNING';
    if (this.#state === 'stopped') void this.#bringUp('STARTING', reset);
    return 'STARTING';
  }

  /** From now on it is not started again. It ends with the machine. */
  end(): void {
    this.#state = 'ended';
    this.#events?.[Symbol.dispose]();
  }

  /** Never throws. */
  async #bringUp(status: 'STARTING' | 'RECOVERING', reset: boolean): Promise<void> {
    const { log, prepare, onStatus } = this.#options;
    this.#state = 'starting';
    onStatus(status, '');
    try {
      if (!(await this.client.ready())) await this.#launch(reset);
      const events = await this.client.events(['lifecycle'], (event) => this.#options.onLifecycle(event));
      this.#events = events;
      void events.closed.then(() => this.#recover());
      await prepare(this.client);
      this.#state = 'running';
      log('info', 'LXD runs');
      onStatus('STARTED', '');
    } catch (e) {
      this.#state = 'stopped';
      this.#events?.[Symbol.dispose]();
      log('error', `LXD cannot be used: ${(e as Error).message}`);
      onStatus('FAILED', (e as Error).message);
    }
  }

  /** @throws Error when it does not come up */
  async #launch(reset: boolean): Promise<void> {
    const { folder, command, log } = this.#options;
    if (reset) rmSync(join(folder, 'database'), { recursive: true, force: true });
    const [program = '', ...args] = command;
    const lxd = spawn(program, args, {
      env: { ...process.env, LXD_DIR: folder },
      // Signals to this process are not meant for it, and it outlives this one.
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    let failure: string | undefined;
    lxd.on('error', (e) => {
      failure = e.message;
    });
    lxd.on('exit', (code, signal) => {
      failure ??= `it ended with ${signal ?? code}`;
      log('warning', `LXD ended with ${signal ?? code}`);
    });
    for (const until = Date.now() + READY_MS; !(await this.client.ready()); await sleep(POLL_MS)) {
      if (failure !== undefined) throw new Error(`LXD did not start: ${failure}`);
      if (Date.now() <= until) continue;
      lxd.kill('SIGKILL');
      throw new Error(`LXD does not answer ${READY_MS / 1000} s after its start`);
    }
  }

  /** Its events have ended, so it has, too. */
  async #recover(): Promise<void> {
    if (this.#state !== 'running') return;
    const now = Date.now();
    this.#recoveries = [...this.#recoveries.filter((at) => now - at < RECOVERY_WINDOW_MS), now];
    if (this.#recoveries.length > RECOVERIES_MAX) {
      this.#state = 'stopped';
      this.#options.onStatus('FAILED', `it ended ${RECOVERIES_MAX} times in ${RECOVERY_WINDOW_MS / 1000} s`);
      return;
    }
    await this.#bringUp('RECOVERING', false);
  }
}
