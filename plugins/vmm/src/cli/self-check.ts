// What the default guest says when it checks its devices: lines `check <name> ok|failed|absent <detail>`.

import { CHECK_PREFIX } from '../guest/guest-init.ts';

export interface CheckLine {
  readonly check: string;
  readonly result: 'ok' | 'failed' | 'absent';
  readonly detail: string;
}

const RESULTS = ['ok', 'failed', 'absent'] as const;
/** Characters; the guest decides how many lines there are, and how long they are. */
const MAX_LINE = 1024;
const MAX_LINES = 256;

/** Picks the lines out of the bytes of a console. */
export class CheckReader {
  readonly lines: CheckLine[] = [];
  done = false;
  #rest = '';

  push(bytes: Uint8Array): void {
    const parts = (this.#rest + Buffer.from(bytes).toString('latin1')).split('\n');
    this.#rest = (parts.pop() ?? '').slice(-MAX_LINE);
    for (const part of parts) this.#line(part.slice(0, MAX_LINE).trimEnd());
  }

  #line(text: string): void {
    if (!text.startsWith(CHECK_PREFIX)) return;
    const [check = '', word, ...detail] = text.slice(CHECK_PREFIX.length).split(' ');
    if (check === 'done' && word === undefined) this.done = true;
    const result = RESULTS.find((one) => one === word);
    if (result === undefined || this.lines.length >= MAX_LINES) return;
    this.lines.push({ check, result, detail: detail.join(' ') });
  }
}
