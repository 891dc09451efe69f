// The output of a child: split into lines of bounded length, the last of them kept, and handed to the log at a bounded
// rate, so that a child that floods costs neither memory nor the log.

import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { stripVTControlCharacters } from 'node:util';
import type { Clock } from '../clock.ts';
import type { Logger } from '../logging.ts';

/** Characters of a line; the rest up to the line break is cut. */
export const MAX_LINE = 8192;
/** Lines kept for errors and `runtime inspect`. */
export const MAX_KEPT = 200;
/** Lines that go to the log: as many at once, and as many a second after that. */
export const LOG_BURST = 500;
export const LOG_PER_SECOND = 100;

const CUT = ' … (cut)';

/** Calls `onLine` for each line; the last one without a line break at `end()`. */
export class LineSplitter {
  readonly #decoder: StringDecoder = new StringDecoder('utf8');
  readonly #onLine: (line: string) => void;
  #rest = '';
  /** The line is longer than allowed and was passed on already. */
  #cutting = false;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    const text = this.#rest + this.#decoder.write(chunk);
    let from = 0;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', from)) {
      this.#line(text.slice(from, at));
      from = at + 1;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length > MAX_LINE) {
      if (!this.#cutting) this.#onLine(clean(this.#rest));
      this.#cutting = true;
      this.#rest = '';
    }
  }

  end(): void {
    const last = this.#rest + this.#decoder.end();
    this.#rest = '';
    if (last !== '') this.#line(last);
  }

  #line(line: string): void {
    const tail = this.#cutting;
    this.#cutting = false;
    if (!tail) this.#onLine(clean(line));
  }
}

/** Without colours and other control characters, which could rewrite the terminal of whoever reads the log. */
function clean(line: string): string {
  const cut = line.length > MAX_LINE ? line.slice(0, MAX_LINE) + CUT : line;
  const ended = cut.endsWith('\r') ? cut.slice(0, -1) : cut;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out.
  return stripVTControlCharacters(ended).replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
}

export class OutputCapture {
  readonly #log: Logger;
  readonly #clock: Clock;
  #kept: string[] = [];
  /** How many of the last lines are of the present incarnation. */
  #fresh = 0;
  #tokens = LOG_BURST;
  #filledAt: number;
  #dropped = 0;
  #note: Disposable | undefined;
  /** Sees every line, also those that the log does not; for a child that is ready once it printed one. */
  onLine: ((line: string) => void) | undefined;

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
    this.#filledAt = clock.now();
  }

  /** The last lines, oldest first. */
  get lines(): readonly string[] {
    return this.#kept.slice(-MAX_KEPT);
  }

  /** Those of the present incarnation among them. */
  get freshLines(): readonly string[] {
    return this.#fresh === 0 ? [] : this.#kept.slice(-Math.min(this.#fresh, MAX_KEPT));
  }

  /** An incarnation begins. */
  begin(): void {
    this.#fresh = 0;
  }

  capture(stream: Readable, name: 'stdout' | 'stderr'): void {
    const splitter = new LineSplitter((line) => this.#take(line, name));
    stream.on('data', (chunk: Buffer) => splitter.push(chunk));
    stream.on('end', () => splitter.end());
    // A broken pipe ends the output, nothing more: the end of the child is noticed by itself.
    stream.on('error', () => splitter.end());
  }

  #take(line: string, stream: string): void {
    this.#kept.push(line);
    this.#fresh += 1;
    // Trimmed in steps, since moving the whole array at every line would be quadratic.
    if (this.#kept.length >= 2 * MAX_KEPT) this.#kept = this.#kept.slice(-MAX_KEPT);
    this.onLine?.(line);
    this.#fill();
    if (this.#tokens < 1) {
      this.#dropped += 1;
      this.#note ??= this.#clock.after(1000, () => this.#noteDropped());
      return;
    }
    this.#tokens -= 1;
    this.#log.info({ stream }, line);
  }

  #fill(): void {
    const now = this.#clock.now();
    this.#tokens = Math.min(LOG_BURST, this.#tokens + ((now - this.#filledAt) / 1000) * LOG_PER_SECOND);
    this.#filledAt = now;
  }

  #noteDropped(): void {
    this.#note = undefined;
    if (this.#dropped > 0) this.#log.warn({ dropped: this.#dropped }, `${this.#dropped} lines dropped`);
    this.#dropped = 0;
  }

  /** Says at once what is still to be said. */
  flush(): void {
    this.#note?.[Symbol.dispose]();
    this.#noteDropped();
  }
}

/** For error messages: the last lines, short. */
export function lastOutput(lines: readonly string[]): string {
  const text = lines.slice(-3).join(' | ');
  return text === '' ? 'none' : text.slice(-500);
}
