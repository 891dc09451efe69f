// What a command of a plugin prints, wherever it runs.

import type { CommandItem } from '@runtime/core/control';
import { passOutputThrough } from '../linux/index.ts';
import { type Format, formatData } from './format.ts';
import { printable, type Terminal } from './terminal.ts';

/** Where progress is lines: silent for so long, in ms, and then one at most in each such time. */
const LINE_EVERY_MS = 10_000;

export class CommandPrinter {
  readonly #terminal: Terminal;
  readonly #format: Format;
  #progressShown = false;
  #isRaw = false;
  #lastLine: number = performance.now();

  constructor(terminal: Terminal, format: Format) {
    this.#terminal = terminal;
    this.#format = format;
  }

  async print(item: CommandItem): Promise<void> {
    if (item.kind === 'progress') return this.#progress(item.stage, item.fraction);
    if (item.kind === 'raw') return this.#setRaw(item.on);
    await this.#clearProgress();
    if (item.kind === 'out') await this.#terminal.out(this.#lines(item.text));
    if (item.kind === 'err') await this.#terminal.err(this.#lines(item.text));
    if (item.kind === 'bytes') await this.#terminal.out(item.bytes);
    if (item.kind === 'err-bytes') await this.#terminal.err(item.bytes);
    if (item.kind === 'data') await this.#terminal.out(`${await formatData(item.value, this.#format)}\n`);
  }

  /** Leaves the terminal as it was. */
  async done(): Promise<void> {
    this.#setRaw(false);
    await this.#clearProgress();
  }

  #setRaw(on: boolean): void {
    if (on === this.#isRaw || !process.stdin.isTTY) return;
    process.stdin.setRawMode(on);
    if (on) passOutputThrough(process.stdin.fd);
    this.#isRaw = on;
  }

  /** A raw terminal does not go to the beginning of a line by itself. */
  #lines(text: string): string {
    return this.#isRaw ? text.replaceAll('\n', '\r\n') : text;
  }

  async #clearProgress(): Promise<void> {
    if (!this.#progressShown) return;
    this.#progressShown = false;
    await this.#terminal.err('\r\x1b[K');
  }

  /** One line that is written over; in a file that would only be noise. */
  async #progress(stage: string, fraction: number | undefined): Promise<void> {
    if (!this.#terminal.errIsTTY) return this.#progressLine(stage);
    this.#progressShown = true;
    const percent = fraction === undefined ? '…' : ` ${Math.round(Math.min(1, Math.max(0, fraction)) * 100)} %`;
    const text = `${printable(stage).replaceAll('\n', ' ')}${percent}`.slice(0, this.#terminal.size.columns - 1);
    await this.#terminal.err(`\r\x1b[K${text}`);
  }

  async #progressLine(stage: string): Promise<void> {
    const now = performance.now();
    if (now - this.#lastLine < LINE_EVERY_MS) return;
    this.#lastLine = now;
    await this.#terminal.err(`${printable(stage).replaceAll('\n', ' ')}…\n`);
  }
}
