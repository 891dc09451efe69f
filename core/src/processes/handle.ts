// A child as one instance of its plugin sees it. The next instance gets a handle of its own, so that nothing which the
// old code hung onto the old one (a continuation of `exited`, a listener on a pipe) outlives that code.

import type { Readable, Writable } from 'node:stream';
import type { Child } from './child.ts';
import type { Incarnation } from './incarnation.ts';
import { LentReadable, LentWritable } from './lent-stream.ts';
import type { ExitStatus, ManagedProcess, ProcessState } from './types.ts';

interface Pipes {
  readonly of: Incarnation;
  readonly stdin: LentWritable | undefined;
  readonly stdout: LentReadable | undefined;
}

export class ChildHandle implements ManagedProcess {
  readonly exited: Promise<ExitStatus>;
  readonly #child: Child;
  readonly #settle: (status: ExitStatus) => void;
  #pipes: Pipes | undefined;
  #detached = false;

  constructor(child: Child) {
    this.#child = child;
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    this.exited = promise;
    this.#settle = resolve;
  }

  get key(): string {
    return this.#child.key;
  }
  get plugin(): string {
    return this.#child.plugin;
  }
  get kind(): string {
    return this.#child.kind;
  }
  get pid(): number | undefined {
    return this.#child.pid;
  }
  get state(): ProcessState {
    return this.#child.state;
  }
  get restarts(): number {
    return this.#child.restarts;
  }
  get detached(): boolean {
    return this.#child.detached;
  }
  get data(): unknown {
    return this.#child.data;
  }
  get stdin(): Writable | undefined {
    return this.#lend()?.stdin;
  }
  get stdout(): Readable | undefined {
    return this.#lend()?.stdout;
  }
  get log(): readonly string[] {
    return this.#child.log;
  }

  ready(): Promise<void> {
    return this.#child.ready();
  }
  kill(signal: NodeJS.Signals): boolean {
    return this.#child.incarnation?.signal(signal) ?? false;
  }
  stop(): Promise<ExitStatus> {
    return this.#child.stop();
  }

  #lend(): Pipes | undefined {
    if (this.#detached) return undefined;
    const of = this.#child.piped;
    if (of === undefined || of === this.#pipes?.of) return this.#pipes;
    this.#pipes = {
      of,
      stdin: of.stdin === undefined ? undefined : new LentWritable(of.stdin),
      stdout: of.stdout === undefined ? undefined : new LentReadable(of.stdout),
    };
    return this.#pipes;
  }

  /** For the child: it ended for good. */
  settle(status: ExitStatus): void {
    this.#settle(status);
  }

  /** For the child: the code that has this handle is on its way out. */
  detach(): void {
    this.#detached = true;
    this.#pipes?.stdin?.giveBack();
    this.#pipes?.stdout?.giveBack();
    this.#pipes = undefined;
  }
}
