// A runtime with folders of its own, and what a program does with it: started, used, killed, and started again.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { connect, type RuntimeReport } from '@runtime/sdk';
import type { RuntimeClient } from '@runtime/sdk/client';
import { imageCache } from '@runtime/sdk/image';
import { Home, ROOT, type Running } from '../cli/command-line.ts';

const PLUGINS = ['vmm', 'crostini'].map((name) => join(ROOT, 'plugins', name)).join(',');
/** Until a guest that was just started, or whose device has just come back, has to answer. */
const ANSWER_MS = 30_000;

const STATE = 'state/runtime/default';
/** Of what is shown of a log. */
const LINES = 15;

export interface VmRow {
  readonly name: string;
  readonly state: string;
  readonly profile: string;
}

export interface DiskRow {
  readonly vm: string;
  readonly bytes: number;
  readonly path: string;
}

export class Subject implements AsyncDisposable {
  readonly #home: Home = new Home();
  readonly #settings: readonly string[];
  #running: Running | undefined;
  #client: RuntimeClient | undefined;
  /** What it said on standard error, of all its lives. */
  log = '';

  /** @param settings for `--set`, such as settings.crostini.config.network=tap */
  constructor(settings: readonly string[] = []) {
    this.#settings = settings;
  }

  get folder(): string {
    return this.#home.folder;
  }

  /** Of programs that are to meet this runtime. */
  get env(): NodeJS.ProcessEnv {
    return this.#home.env;
  }

  /** In the environment of each of its processes. */
  get mark(): string {
    return `HOME=${this.folder}`;
  }

  get pid(): number {
    const pid = this.#running?.child.pid;
    if (pid === undefined) throw new Error('the runtime does not run');
    return pid;
  }

  get alive(): boolean {
    return this.#running !== undefined && this.#running.child.exitCode === null && !this.#running.child.killed;
  }

  get client(): RuntimeClient {
    if (this.#client === undefined) throw new Error('there is no connection to the runtime');
    return this.#client;
  }

  async start(): Promise<void> {
    // Downloads and images are the user's own.
    this.#running = this.#home.start(['--plugins', PLUGINS, ...this.#settings.flatMap((one) => ['--set', one])], {
      RUNTIME_CACHE: dirname(imageCache()),
    });
    await this.#running.says('ready in');
    this.#client = await connect({ env: this.#home.env });
  }

  /** SIGKILL, and resolves when it is gone. */
  async kill(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    running.child.kill('SIGKILL');
    this.log += (await running.ended).stderr;
    await this.#client?.[Symbol.asyncDispose]();
    this.#client = undefined;
    this.#running = undefined;
  }

  async stop(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    await this.#client?.[Symbol.asyncDispose]();
    this.#client = undefined;
    running.child.kill('SIGTERM');
    this.log += (await running.ended).stderr;
    this.#running = undefined;
  }

  /** What the command has to say, as data. @throws what the command does, CORE_ERR_CONTROL_CLOSED when the runtime dies */
  async command(
    name: string,
    args: readonly string[] = [],
    options: Readonly<Record<string, unknown>> = {},
  ): Promise<unknown> {
    let data: unknown;
    const item = (one: { readonly kind: string; readonly value?: unknown }): void => {
      if (one.kind === 'data') data = one.value;
    };
    const code = await this.client.control.runCommand({ name, args, options, cwd: this.folder }, { item });
    if (code !== 0) throw new Error(`${name} ${args.join(' ')} ended with code ${code}`);
    return data;
  }

  async vms(): Promise<readonly VmRow[]> {
    return (await this.command('list')) as readonly VmRow[];
  }

  async disks(): Promise<readonly DiskRow[]> {
    return (await this.command('disk list')) as readonly DiskRow[];
  }

  inspect(): Promise<RuntimeReport> {
    return this.client.control.request('inspect', {});
  }

  /** The last that the runtime and the guests have said. */
  evidence(): string {
    const folder = join(this.folder, STATE, 'plugins/vmm/consoles');
    const consoles = existsSync(folder) ? readdirSync(folder) : [];
    const tails = consoles.map((name) => `${name}: ${lastOf(readFileSync(join(folder, name), 'latin1'))}`);
    return [`runtime: ${lastOf(this.log + (this.#running?.stderr ?? ''))}`, ...tails].join('\n');
  }

  /** Output of a command of root in a guest, which has to succeed. */
  async inGuest(vm: string, script: string, withinMs: number = ANSWER_MS): Promise<string> {
    const options = { user: 'root', signal: AbortSignal.timeout(withinMs) };
    const { code, stdout, stderr } = await this.client.vms.get(vm).exec(['/bin/sh', '-c', script], options);
    if (code !== 0) throw new Error(`"${script}" in ${vm} ended with code ${code}: ${stderr}`);
    return stdout.toString().trim();
  }

  /** Within half a minute: connections of a guest end when the process of its vsock device does. */
  async answers(vm: string): Promise<boolean> {
    const until = Date.now() + ANSWER_MS;
    do {
      if ((await this.inGuest(vm, 'echo here', ANSWER_MS / 3).catch(() => '')) === 'here') return true;
      await sleep(200);
    } while (Date.now() < until);
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.command('stop', [], { all: true }).catch(() => {});
    await this.stop().catch(() => {});
    for (const { pid } of processesWith(this.mark)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    }
    this.#home[Symbol.dispose]();
  }
}

function lastOf(text: string): string {
  return stripVTControlCharacters(text).trimEnd().split('\n').slice(-LINES).join('\n  ');
}

export interface FoundProcess {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** Those that run with this in their environment. */
export function processesWith(mark: string): readonly FoundProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const [head = '', fields = ''] = readFileSync(`/proc/${name}/stat`, 'latin1').split(/\) (?=[^)]*$)/);
        const [state = '', parent = ''] = fields.split(' ');
        if (head === '' || state === 'Z' || state === 'X') return [];
        if (!readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(mark)) return [];
        const command = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ').trim();
        return [{ pid: Number(name), parent: Number(parent), command }];
      } catch {
        return [];
      }
    });
}
