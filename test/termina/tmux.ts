// A terminal as a person has one: tmux, with a shell of the host in it. What it shows can be read, keys typed, its size changed.

import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** In words; `undefined` when nothing is lacking. */
export function lackingForTmux(): string | undefined {
  return spawnSync('tmux', ['-V']).error === undefined ? undefined : 'tmux (apt-get install tmux)';
}

/** With the exit code of what was run last. */
const PROMPT = 'host $?>';
const SHOW_MS = 30_000;

/** A server takes its time to end. */
let count = 0;

export class Tmux implements Disposable {
  readonly #socket: string;
  readonly #env: NodeJS.ProcessEnv;

  /** @param folder of the socket, and of the shell */
  constructor(folder: string, env: NodeJS.ProcessEnv, { columns, rows }: TerminalSize) {
    this.#socket = join(folder, `tmux${count++}`);
    this.#env = { ...env, TERM: 'xterm', PS1: `${PROMPT} `, SHELL: '/bin/sh' };
    const size = ['-x', String(columns), '-y', String(rows)];
    this.#tmux(['-u', '-f', '/dev/null', 'new-session', '-d', ...size, '-c', folder, '/bin/sh']);
  }

  /** The rows that are on the screen, without the blanks at their ends. */
  rows(): readonly string[] {
    // The last one ends with a line feed, too.
    return this.#tmux(['capture-pane', '-p']).split('\n').slice(0, -1);
  }

  type(text: string): void {
    this.#tmux(['send-keys', '-l', text]);
  }

  /** By tmux's name: Enter, C-c, … */
  press(...keys: readonly string[]): void {
    this.#tmux(['send-keys', ...keys]);
  }

  enter(line: string): void {
    this.type(line);
    this.press('Enter');
  }

  resize({ columns, rows }: TerminalSize): void {
    this.#tmux(['resize-window', '-x', String(columns), '-y', String(rows)]);
  }

  /** Resolves once it does. @throws Error with what is on the screen instead */
  async shows(what: string, does: (rows: readonly string[]) => boolean): Promise<void> {
    for (const until = Date.now() + SHOW_MS; ; await sleep(100)) {
      const rows = this.rows();
      if (does(rows)) return;
      if (Date.now() > until) throw new Error(`the terminal does not show ${what}:\n${rows.join('\n')}`);
    }
  }

  /** The shell of the host waits for a line. @param code of what has ended */
  async showsPrompt(code: number | 'not 0' = 0): Promise<void> {
    const prompt = code === 'not 0' ? /host [1-9]\d*>$/ : new RegExp(`host ${code}>$`);
    await this.shows('the prompt of the host', (rows) => prompt.test(lastOf(rows)));
  }

  /** Of a line for the shell that waits for one: what it prints, in one row. */
  async answerTo(line: string): Promise<string> {
    this.enter('clear');
    await this.shows('a prompt alone', (rows) => rows[0] !== '' && rows.slice(1).every((row) => row === ''));
    this.enter(line);
    await this.shows(`an answer to ${line}`, (rows) => rows[1] !== '' && rows[2] !== '');
    return this.rows()[1] ?? '';
  }

  [Symbol.dispose](): void {
    this.#tmux(['kill-server']);
  }

  #tmux(args: readonly string[]): string {
    return execFileSync('tmux', ['-S', this.#socket, ...args], { env: this.#env, encoding: 'utf8' });
  }
}

/** The last row that is not blank. */
export function lastOf(rows: readonly string[]): string {
  return rows.findLast((row) => row !== '') ?? '';
}
