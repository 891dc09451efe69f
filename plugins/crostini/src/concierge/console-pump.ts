// Writes what comes from the console of a VM into its log, line by line.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Vms } from '@runtime/plugin-vmm/contract';
import { LogBudget } from './log-budget.ts';
import { dropped } from './log-collector.ts';
import { type LogRecord, linesOf, MAX_LINE, withoutColours } from './log-records.ts';

export interface ConsolePumpOptions {
  readonly vms: Pick<Vms, 'readConsole'>;
  readonly machine: string;
  /** Where the first read begins; default: with all there is. */
  readonly from?: number | undefined;
  readonly append: (records: readonly LogRecord[]) => void;
  /** Where the next read begins. */
  readonly onPosition?: (next: number) => void;
}

/** How long one read waits for output, ms. */
const WAIT_MS = 10_000;
/** Between two reads: a VM that writes a letter at a time must not keep the runtime busy. */
const PAUSE_MS = 50;
/** A line that is not ended counts as one after this. */
const PARTIAL_MS = 500;
const BUDGET = { burst: 1024 * 1024, perSecond: 64 * 1024 } as const;
/** Of what a serial port has sent, the machine included. */
const DRAIN_MS = 500;

export class ConsolePump implements Disposable {
  readonly #options: ConsolePumpOptions;
  readonly #budget: LogBudget = new LogBudget(BUDGET);
  readonly #stopped = new AbortController();
  readonly #done: Promise<void>;
  #line = Buffer.alloc(0);

  constructor(options: ConsolePumpOptions) {
    this.#options = options;
    this.#done = this.#run();
  }

  /** Resolves when all is written of a machine that has ended, or that takes too long. */
  async drain(): Promise<void> {
    const late = new AbortController();
    await Promise.race([this.#done, sleep(DRAIN_MS, undefined, { signal: late.signal }).catch(() => {})]);
    late.abort();
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#stopped.abort();
  }

  async #run(): Promise<void> {
    const { vms, machine, onPosition } = this.#options;
    const { signal } = this.#stopped;
    const stopped = new Promise<undefined>((resolve) =>
      signal.addEventListener('abort', () => resolve(undefined), { once: true }),
    );
    let next = this.#options.from;
    try {
      while (!signal.aborted) {
        const waitMs = this.#line.length > 0 ? PARTIAL_MS : WAIT_MS;
        const read = vms.readConsole(machine, { ...(next === undefined ? {} : { from: next }), waitMs });
        read.catch(() => {});
        const chunk = await Promise.race([read, stopped]);
        if (chunk === undefined) break;
        if (chunk.bytes.length > 0) this.#take(chunk.bytes);
        else this.#flush();
        next = chunk.next;
        onPosition?.(next);
        if (chunk.ended) break;
        await sleep(PAUSE_MS, undefined, { signal }).catch(() => {});
      }
    } catch {
      // The machine is not known any more.
    }
    if (!signal.aborted) this.#flush();
  }

  #take(bytes: Uint8Array): void {
    const whole = Buffer.concat([this.#line, bytes]);
    const end = whole.lastIndexOf(0x0a) + 1;
    this.#line = whole.subarray(end);
    if (this.#line.length > MAX_LINE) {
      this.#write(whole);
      this.#line = Buffer.alloc(0);
    } else this.#write(whole.subarray(0, end));
  }

  #flush(): void {
    if (this.#line.length === 0) return;
    this.#write(this.#line);
    this.#line = Buffer.alloc(0);
  }

  #write(bytes: Uint8Array): void {
    const time = Date.now();
    const texts = linesOf(bytes)
      .map(withoutColours)
      .filter((text) => text.trim() !== '' && this.#budget.take(text.length));
    const records = texts.map((text): LogRecord => ({ time, source: 'console', priority: 'info', text }));
    const refused = this.#budget.takeRefused();
    this.#options.append(refused > 0 ? [...records, dropped('console', refused, time)] : records);
  }
}
