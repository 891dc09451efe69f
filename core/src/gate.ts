// The door of one plugin. Service calls and taps go through it: a reload closes it, waits until nobody is inside, and
// opens it again on the new instance.

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from './clock.ts';
import { currentPhase } from './phase.ts';

/** `gone`: nobody will open it again (failed or unloaded). */
export type GateState = 'open' | 'closed' | 'gone';

interface Waiter {
  readonly proceed: () => void;
  readonly refuse: (error: Error) => void;
  readonly timer: Disposable;
}

export class Gate {
  /** The plugin behind it. */
  readonly owner: string;
  readonly #clock: Clock;
  #state: GateState = 'closed';
  #inside = 0;
  #waiting: Set<Waiter> = new Set();
  #onIdle: (() => void)[] = [];
  /** Who may pass while it is closed, besides the owner: those that are reloaded with it. */
  #guests: ReadonlySet<string> = new Set();
  #refusal: () => Error = () => new Error(`${this.owner} is gone`);

  constructor(owner: string, clock: Clock) {
    this.owner = owner;
    this.#clock = clock;
  }

  get state(): GateState {
    return this.#state;
  }

  get open(): boolean {
    return this.#state === 'open';
  }

  /** Calls under way. */
  get inside(): number {
    return this.#inside;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Whether `caller` goes through now. What the owner itself set in motion does, or it would wait for itself. */
  admits(caller: string): boolean {
    if (this.#state === 'open') return true;
    if (this.#state === 'gone') return false;
    const phase = currentPhase();
    return this.#isInside(caller) || (phase !== undefined && this.#isInside(phase));
  }

  #isInside(plugin: string): boolean {
    return plugin === this.owner || this.#guests.has(plugin);
  }

  /** The plugin is being set up again: until it opens, these pass too, and whoever else comes waits. */
  admit(guests: ReadonlySet<string>): void {
    this.#state = 'closed';
    this.#guests = guests;
  }

  enter(): void {
    this.#inside += 1;
  }

  /** Bound, so that it can be handed to `then` as it is. */
  readonly leave = (): void => {
    this.#inside -= 1;
    if (this.#inside === 0 && this.#onIdle.length > 0) {
      const idle = this.#onIdle;
      this.#onIdle = [];
      for (const resolve of idle) resolve();
    }
  };

  /** Whoever waits goes on at once and in the order of arrival, before anything that comes later. */
  openUp(): void {
    this.#state = 'open';
    this.#guests = new Set();
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const waiter of waiting) {
      waiter.timer[Symbol.dispose]();
      waiter.proceed();
    }
  }

  close(): void {
    this.#state = 'closed';
  }

  /** For good; whoever waits or comes is refused. */
  abandon(refusal: () => Error): void {
    this.#state = 'gone';
    this.#refusal = refusal;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const waiter of waiting) {
      waiter.timer[Symbol.dispose]();
      waiter.refuse(refusal());
    }
  }

  /**
   * For whoever is not admitted: runs `then` once the gate opens; rejects with `late()` after `ms`, or with the refusal
   * of a gate that is gone.
   */
  pass<T>(ms: number, then: () => T | PromiseLike<T>, late: () => Error): Promise<T> {
    if (this.#state === 'gone') return Promise.reject(this.#refusal());
    // What waited goes on as its caller's work: same phase, same cause in the trace.
    const asCaller = AsyncLocalStorage.snapshot();
    return new Promise<T>((resolve, reject) => {
      const waiter: Waiter = {
        proceed: () => {
          try {
            resolve(asCaller(then));
          } catch (error) {
            reject(error);
          }
        },
        refuse: reject,
        timer: this.#clock.after(ms, () => {
          this.#waiting.delete(waiter);
          reject(late());
        }),
      };
      this.#waiting.add(waiter);
    });
  }

  /** Resolves when no call is inside. */
  idle(): Promise<void> {
    if (this.#inside === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onIdle.push(resolve));
  }
}
