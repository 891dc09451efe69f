// Runs the real `runtime` with folders of its own, and reads what it prints.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const ROOT: string = join(import.meta.dirname, '../..');
export const HELLO: string = join(ROOT, 'examples/hello');
const LAUNCHER = join(ROOT, 'sdk/bin/runtime.mjs');

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class Home implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'runtime-cli-'));
  readonly env: NodeJS.ProcessEnv;
  readonly #running: Set<Running> = new Set();

  constructor() {
    const folder = (name: string): string => join(this.folder, name);
    this.env = {
      PATH: process.env.PATH,
      HOME: this.folder,
      XDG_RUNTIME_DIR: this.folder,
      XDG_CONFIG_HOME: folder('config'),
      XDG_DATA_HOME: folder('data'),
      XDG_STATE_HOME: folder('state'),
      // Shared, as it would be by one user: it holds compiled code only.
      XDG_CACHE_HOME: join(tmpdir(), 'runtime-cli-cache'),
    };
  }

  start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
    const running = new Running(args, { ...this.env, ...env }, this.folder);
    this.#running.add(running);
    return running;
  }

  run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    return this.start(args, env).ended;
  }

  [Symbol.dispose](): void {
    for (const { child } of this.#running) if (child.exitCode === null) child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';

  constructor(args: readonly string[], env: NodeJS.ProcessEnv, cwd: string) {
    const argv = ['--conditions=@runtime/source', LAUNCHER, ...args];
    this.child = spawn(process.execPath, argv, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = once(this.child, 'close').then(([code]) => {
      return { code: code as number | null, stdout: this.stdout, stderr: this.stderr };
    });
  }

  /** Resolves when it has printed that; rejects when it ended before. */
  async says(text: string): Promise<void> {
    const said = (): boolean => this.stdout.includes(text) || this.stderr.includes(text);
    let over = false;
    void this.ended.then(() => {
      over = true;
    });
    while (!said()) {
      if (over) throw new Error(`it ended without "${text}":\n${this.stdout}${this.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
