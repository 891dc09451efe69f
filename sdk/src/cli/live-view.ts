// The status at the bottom of a terminal, redrawn in place; log lines scroll above it.

import type { ReadStream, WriteStream } from 'node:tty';
import { CORE_VERSION, type Runtime, type RuntimeEvent } from '@runtime/core';
import { displayWidth } from './format.ts';
import { logLineText } from './log-line.ts';
import { type ReadyFacts, readyText, type Screen } from './screen.ts';
import { statusBlock } from './status-block.ts';
import type { Paint } from './terminal.ts';

/** At most ten times a second. */
const FRAME_MS = 100;
const CLOCK_MS = 1_000;
const EVENTS_KEPT = 5;
/** Lines that must be left for what scrolls. */
const LEFT_FOR_LOG = 4;

/** Control sequences, ECMA-48; DECTCEM and DECAWM are those of the VT510. */
const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const CLEAR_BELOW = '\x1b[J';

/** Keys as a terminal in raw mode sends them, and the signals that it would have sent. */
const KEY_SIGNALS: Readonly<Record<string, NodeJS.Signals>> = { '\x03': 'SIGINT', '\x1c': 'SIGQUIT' };
const SUSPEND_KEY = '\x1a';

export class LiveView implements Screen {
  readonly #out: WriteStream;
  readonly #in: ReadStream;
  readonly #paint: Paint;
  readonly #events: RuntimeEvent[] = [];
  readonly #startedAt: number = performance.now();
  #runtime: Runtime | undefined;
  #subscription: Disposable | undefined;
  #lines: readonly string[] = [];
  /** Log lines that wait for the next frame. */
  #above: string[] = [];
  #note: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(out: WriteStream, input: ReadStream, paint: Paint) {
    this.#out = out;
    this.#in = input;
    this.#paint = paint;
    this.#takeOver();
    out.on('resize', this.#onResize);
    process.on('SIGCONT', this.#onContinue);
    this.#ticker = setInterval(() => this.#dirty(), CLOCK_MS);
  }

  attach(runtime: Runtime): void {
    this.#runtime = runtime;
    this.#subscription = runtime.events.on('*', (_data, event) => {
      this.#events.push(event);
      if (this.#events.length > EVENTS_KEPT) this.#events.shift();
      this.#dirty();
    });
    this.#dirty();
  }

  log(json: string): void {
    this.line(logLineText(json, this.#paint));
  }

  ready(facts: ReadyFacts): void {
    this.line(readyText(facts));
  }

  line(text: string): void {
    this.#above.push(text);
    this.#dirty();
  }

  note(text: string): void {
    this.#note = text;
    this.#dirty();
  }

  close(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
    this.#subscription?.[Symbol.dispose]();
    this.#out.off('resize', this.#onResize);
    process.off('SIGCONT', this.#onContinue);
    this.#note = undefined;
    // The last words of the log stay; the block, which is no longer true, goes.
    this.#write(`${this.#toStart()}${CLEAR_BELOW}${this.#takeAbove()}`);
    this.#lines = [];
    this.#closed = true;
    this.#giveBack();
  }

  #takeOver(): void {
    if (this.#in.isTTY) {
      this.#in.setRawMode(true);
      this.#in.on('data', this.#onKeys);
      this.#in.resume();
      this.#in.unref();
    }
    this.#write(HIDE_CURSOR);
  }

  #giveBack(): void {
    this.#write(SHOW_CURSOR);
    if (this.#in.isTTY) {
      this.#in.off('data', this.#onKeys);
      this.#in.setRawMode(false);
      this.#in.pause();
    }
  }

  readonly #onKeys = (keys: Buffer): void => {
    for (const key of keys.toString('latin1')) {
      const signal = KEY_SIGNALS[key];
      if (signal !== undefined) process.kill(process.pid, signal);
      if (key === SUSPEND_KEY) this.#suspend();
    }
  };

  #suspend(): void {
    this.#write(`${this.#toStart()}${CLEAR_BELOW}`);
    this.#lines = [];
    this.#giveBack();
    // As the terminal would: everything in the foreground, such as an npm around this.
    process.kill(0, 'SIGTSTP');
  }

  readonly #onContinue = (): void => {
    if (this.#closed) return;
    this.#takeOver();
    this.#dirty();
  };

  readonly #onResize = (): void => {
    this.#dirty();
  };

  #dirty(): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#draw();
    }, FRAME_MS);
  }

  #draw(): void {
    if (this.#closed) return;
    const { columns, rows } = this.#size();
    const start = this.#toStart();
    const above = this.#takeAbove();
    const lines =
      this.#runtime === undefined
        ? []
        : statusBlock(
            {
              report: this.#runtime.inspect(),
              version: CORE_VERSION,
              uptimeMs: performance.now() - this.#startedAt,
              events: this.#events,
              note: this.#note,
            },
            columns - 1,
            rows - LEFT_FOR_LOG,
            this.#paint,
          );
    this.#lines = lines;
    this.#write(`${start}${CLEAR_BELOW}${above}${lines.map((line) => `${line}\n`).join('')}`);
  }

  /** To the first column of the first line of the block, also when a narrower window has wrapped its lines. */
  #toStart(): string {
    const { columns } = this.#size();
    const height = this.#lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(displayWidth(line) / columns)), 0);
    return height === 0 ? '\r' : `\x1b[${height}A\r`;
  }

  /** A terminal that does not know its size says 0. */
  #size(): { readonly columns: number; readonly rows: number } {
    return { columns: this.#out.columns || 80, rows: this.#out.rows || 24 };
  }

  #takeAbove(): string {
    const text = this.#above.map((line) => `${line}\n`).join('');
    this.#above = [];
    return text;
  }

  #write(text: string): void {
    if (!this.#out.destroyed) this.#out.write(text);
  }
}
