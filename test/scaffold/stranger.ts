// Somebody who has never seen this project: folders of their own, npm, and the `runtime` command as it is installed.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const ROOT = join(import.meta.dirname, '../..');
/** Of an installed sdk. */
const COMMAND = 'node_modules/@runtime/sdk/bin/runtime.mjs';
const PATIENCE_MS = 30_000;
/** How this machine reaches a registry: proxies, authorities, and what npm was told. */
const NETWORK = /^((https?|no|all)_proxy|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|npm_config_(registry|cafile|ca))$/i;

export class Stranger implements AsyncDisposable {
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  readonly #running: Set<Program> = new Set();

  constructor() {
    this.home = realpathSync(mkdtempSync(join(tmpdir(), 'runtime-stranger-')));
    const { PATH, HOME, LANG } = process.env;
    this.env = {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => NETWORK.test(name))),
      PATH,
      HOME,
      LANG,
      XDG_RUNTIME_DIR: this.path('run'),
      XDG_CACHE_HOME: this.path('cache'),
      XDG_CONFIG_HOME: this.path('config'),
      XDG_STATE_HOME: this.path('state'),
      XDG_DATA_HOME: this.path('data'),
      NO_COLOR: '1',
      npm_config_prefer_offline: 'true',
    };
    mkdirSync(this.path('run'), { mode: 0o700 });
  }

  path(name: string): string {
    return join(this.home, name);
  }

  /** `runtime plugin new …` of the checkout, in their home. */
  async newPlugin(...args: string[]): Promise<void> {
    await this.run(this.home, process.execPath, join(ROOT, 'sdk/bin/runtime.mjs'), 'plugin', 'new', ...args);
  }

  /** Standard output. @throws with all that was printed */
  run(cwd: string, file: string, ...args: string[]): Promise<string> {
    const options = { cwd, env: this.env, maxBuffer: 16 * 1024 * 1024 };
    return new Promise((resolve, reject) => {
      execFile(file, args, options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`${error.message}\n${stdout}${stderr}`));
      });
    });
  }

  runtime(cwd: string, ...args: string[]): Promise<string> {
    return this.run(cwd, process.execPath, COMMAND, ...args);
  }

  npm(cwd: string, ...args: string[]): Promise<string> {
    return this.run(cwd, 'npm', ...args);
  }

  /** Installs our packages and others into a folder of the name. */
  async install(name: string, ...tarballs: string[]): Promise<string> {
    const folder = this.path(name);
    const packs = this.path('cache/runtime/packs');
    const [hash = ''] = readdirSync(packs);
    const ours = readdirSync(join(packs, hash)).map((file) => join(packs, hash, file));
    await this.npm(folder, 'install', '--no-audit', '--no-fund', '--loglevel=error', ...ours, ...tarballs);
    return folder;
  }

  /** Resolves when the runtime is ready. */
  async start(cwd: string, ...args: string[]): Promise<Program> {
    const program = this.#spawn(cwd, process.execPath, [COMMAND, ...args]);
    await program.says(/ready in/);
    return program;
  }

  /** A command line on a terminal, with script(1). */
  onTerminal(cwd: string, command: string): Program {
    return this.#spawn(cwd, 'script', ['-qefc', command, '/dev/null']);
  }

  /** Command lines of processes that came from here and still run. */
  leftOver(): readonly string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
      .flatMap((pid) => {
        try {
          return [readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')];
        } catch {
          return [];
        }
      })
      .filter((line) => line.includes(this.home));
  }

  async stopAll(): Promise<void> {
    for (const program of this.#running) await program.stop();
    this.#running.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopAll();
    rmSync(this.home, { recursive: true, force: true });
  }

  #spawn(cwd: string, file: string, args: readonly string[]): Program {
    const program = new Program(spawn(file, args, { cwd, env: this.env, stdio: ['pipe', 'pipe', 'pipe'] }));
    this.#running.add(program);
    return program;
  }
}

export class Program {
  output = '';
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    this.#exited = once(child, 'close').then(([code]) => code as number | null);
  }

  get exited(): Promise<number | null> {
    return this.#exited;
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until what was printed since `from` matches, and tells what there was instead. */
  says(pattern: RegExp, from: number = 0): Promise<void> {
    return this.until(() => pattern.test(this.output.slice(from)));
  }

  async until(condition: () => boolean): Promise<void> {
    const end = Date.now() + PATIENCE_MS;
    while (!condition()) {
      const { exitCode } = this.#child;
      if (exitCode !== null) throw new Error(`it ended with ${exitCode}:\n${this.output}`);
      if (Date.now() > end) throw new Error(`waited in vain; there was:\n${this.output}`);
      await sleep(20);
    }
  }

  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM');
    return this.#exited;
  }
}
