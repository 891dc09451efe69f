// What the foreground shows: plain lines, or JSON lines for programs. The live view for terminals is in live-view.ts.

import type { Runtime } from '@runtime/core';
import { toJson } from './format.ts';
import { logLineText, sourceText } from './log-line.ts';
import type { Terminal } from './terminal.ts';

export interface ReadyFacts {
  /** Milliseconds since the process was started. */
  readonly ms: number;
  readonly plugins: number;
  readonly socket: string | undefined;
}

export interface Screen {
  /** Shows what happens in the runtime from now on. */
  attach(runtime: Runtime): void;
  /** One line of the log, as JSON. */
  log(json: string): void;
  ready(facts: ReadyFacts): void;
  /** One line that stays. */
  line(text: string): void;
  /** What is being waited for, and the like. */
  note(text: string): void;
  /** Leaves the terminal as it was found. Idempotent and synchronous, so that it can run when the process ends. */
  close(): void;
}

export function readyText({ ms, plugins, socket }: ReadyFacts): string {
  const count = plugins === 1 ? '1 plugin' : `${plugins} plugins`;
  return `ready in ${Math.round(ms)} ms: ${count}${socket === undefined ? '' : `, listening on ${socket}`}`;
}

/** For pipes, files and journals: one line per transition. */
export class PlainLines implements Screen {
  readonly #terminal: Terminal;
  #subscription: Disposable | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  attach(runtime: Runtime): void {
    this.#subscription = runtime.events.on('core:plugin-state', ({ plugin, to }) => {
      this.#line(sourceText(plugin, this.#terminal.paint) + transitionText(runtime, plugin, to));
    });
  }

  log(json: string): void {
    this.#line(logLineText(json, this.#terminal.paint));
  }

  ready(facts: ReadyFacts): void {
    this.#line(readyText(facts));
  }

  line(text: string): void {
    this.#line(text);
  }

  note(text: string): void {
    this.#line(text);
  }

  close(): void {
    this.#subscription?.[Symbol.dispose]();
  }

  #line(text: string): void {
    void this.#terminal.out(`${text}\n`);
  }
}

/** For programs: every line an object with `type`. Log lines go to standard error as they are. */
export class JsonLines implements Screen {
  readonly #terminal: Terminal;
  #subscription: Disposable | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  attach(runtime: Runtime): void {
    this.#subscription = runtime.events.on('core:plugin-state', (data) =>
      this.#line({ type: 'plugin-state', ...data }),
    );
  }

  log(json: string): void {
    void this.#terminal.err(json.endsWith('\n') ? json : `${json}\n`);
  }

  ready(facts: ReadyFacts): void {
    this.#line({ type: 'ready', ...facts });
  }

  line(text: string): void {
    this.#line({ type: 'line', text });
  }

  note(text: string): void {
    this.#line({ type: 'note', text });
  }

  close(): void {
    this.#subscription?.[Symbol.dispose]();
  }

  #line(value: object): void {
    void this.#terminal.out(`${toJson(value)}\n`);
  }
}

function transitionText(runtime: Runtime, plugin: string, to: string): string {
  if (to !== 'ready' && to !== 'failed') return to;
  const report = runtime.inspect().plugins.find(({ name }) => name === plugin);
  if (to === 'failed') return report?.error === undefined ? to : `${to}: ${report.error}`;
  const ms = (report?.setupMs ?? 0) + (report?.readyMs ?? 0);
  return `${to} (${ms.toFixed(1)} ms)`;
}
