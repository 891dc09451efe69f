// The battery of attempts in each jail: with all of its layers, with each of them alone to see which one holds, and with
// none, to see that it bites.

import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { LOCKDOWN_VARIABLE, type Lockdown } from '@runtime/sdk/linux';
import { errors } from '../errors.ts';
import { deviceFilter, type SystemCalls } from '../jail/device-filter.ts';
import { codeFolders, devicePlan, landlockRules } from '../jail/device-jail.ts';
import { bubblewrap } from '../launch/bubblewrap.ts';
import { findTool, hostTools } from '../launch/host-tools.ts';
import { ATTEMPTS, type Targets } from './attempts.ts';

const BATTERY = join(import.meta.dirname, `battery-main${extname(import.meta.filename)}`);
const READ_ONLY_FD = 3;
const BATTERY_MS = 60_000;

export const LAYERS = ['namespaces', 'landlock', 'seccomp'] as const;
export type Layer = (typeof LAYERS)[number];

export interface AttestRow {
  readonly group: string;
  readonly attempt: string;
  readonly outcome: string;
  /** Layers of which each alone holds it. */
  readonly heldBy: string;
  /** Without a jail. */
  readonly unjailed: string;
}

export interface AttestReport {
  readonly rows: readonly AttestRow[];
  /** That succeeded in the jail. */
  readonly escapes: number;
  /** That fail without it, too: they show nothing here. */
  readonly toothless: number;
}

/** @throws SANDBOX_ERR_UNSUPPORTED */
export async function attest(
  calls: SystemCalls,
  as: { readonly uid: number; readonly gid: number },
): Promise<AttestReport> {
  const { bubblewrap: program, bubblewrapWhy } = await hostTools();
  if (program === undefined) {
    const details = { what: 'the battery', why: bubblewrapWhy, hint: 'apt-get install bubblewrap' };
    throw errors.SANDBOX_ERR_UNSUPPORTED({ details });
  }
  await using rig = await Rig.open(as);
  const run = (layers: readonly Layer[]) => rig.run(layers, calls, program);
  const none = await run([]);
  const all = await run(LAYERS);
  const alone: (readonly [Layer, readonly string[]])[] = [];
  for (const layer of LAYERS) alone.push([layer, await run([layer])]);
  const rows = ATTEMPTS.map(({ group, what }, at): AttestRow => {
    const holding = alone.filter(([, results]) => results[at] !== '' && none[at] === '').map(([layer]) => layer);
    return {
      ...{ group, attempt: what, outcome: all[at] === '' ? 'SUCCEEDED' : `held: ${all[at]}` },
      heldBy: holding.join(', '),
      unjailed: none[at] === '' ? 'succeeds' : `fails: ${none[at]}`,
    };
  });
  return {
    rows,
    escapes: rows.filter((_, at) => all[at] === '').length,
    toothless: rows.filter((_, at) => none[at] !== '').length,
  };
}

class Rig implements AsyncDisposable {
  readonly #folder: string;
  readonly #neighbour: ChildProcess;
  readonly #server: ReturnType<typeof createServer>;
  readonly #as: { readonly uid: number; readonly gid: number };
  readonly #socket: string;

  static async open(as: { readonly uid: number; readonly gid: number }): Promise<Rig> {
    const folder = mkdtempSync(join(tmpdir(), 'attest-'));
    chmodSync(folder, 0o777);
    writeFileSync(join(folder, 'secret'), 'secret\n', { mode: 0o666 });
    chmodSync(join(folder, 'secret'), 0o666);
    const neighbour = spawn('/bin/sleep', ['300'], { stdio: ['pipe', 'ignore', 'ignore'], ...as });
    const name = `attest-${process.pid}`;
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen({ path: `\0${name}` }, resolve));
    return new Rig(folder, neighbour, server, as, name);
  }

  private constructor(
    folder: string,
    neighbour: ChildProcess,
    server: ReturnType<typeof createServer>,
    as: { readonly uid: number; readonly gid: number },
    socket: string,
  ) {
    this.#folder = folder;
    this.#neighbour = neighbour;
    this.#server = server;
    this.#as = as;
    this.#socket = socket;
  }

  async run(layers: readonly Layer[], calls: SystemCalls, program: string): Promise<readonly string[]> {
    const targets: Targets = {
      ...{ secret: join(this.#folder, 'secret'), folder: this.#folder, neighbour: this.#neighbour.pid ?? 1 },
      ...{ socket: this.#socket, readOnlyFd: READ_ONLY_FD },
    };
    const flags = BATTERY.endsWith('.ts') ? ['--conditions=@runtime/source'] : [];
    const argv = [process.execPath, ...flags, '--v8-pool-size=1', BATTERY, JSON.stringify(targets)];
    const jail = {
      profile: 'device' as const,
      plan: { paths: [], ...calls, syscalls: [...calls.syscalls], ioctls: [...calls.ioctls] },
      code: [],
    };
    const lockdown: Lockdown = {
      ...(layers.includes('landlock')
        ? { landlock: { rules: landlockRules(codeFolders(jail, { argv, env: {} }), process.execPath), required: true } }
        : {}),
      ...(layers.includes('seccomp') ? { filter: Buffer.from(deviceFilter(calls)).toString('base64') } : {}),
    };
    const plan = devicePlan(jail, { argv, env: {} });
    const limits = plan.rlimits.map(({ resource, soft, hard }) => `--${resource}=${soft}:${hard}`);
    const prefix = layers.includes('namespaces')
      ? [findTool('prlimit') ?? 'prlimit', ...limits, '--', ...bubblewrap(plan, { program })]
      : [];
    return this.#battery([...prefix, ...argv], lockdown);
  }

  #battery(argv: readonly string[], lockdown: Lockdown): Promise<readonly string[]> {
    const [file = '', ...args] = argv;
    const fd = openSync(join(this.#folder, 'secret'), 'r');
    const child = spawn(file, args, {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', UV_THREADPOOL_SIZE: '1', [LOCKDOWN_VARIABLE]: JSON.stringify(lockdown) },
      stdio: ['ignore', 'pipe', 'pipe', fd],
      timeout: BATTERY_MS,
      ...this.#as,
    });
    closeSync(fd);
    let [text, complaint] = ['', ''];
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint += chunk.toString();
    });
    return new Promise((resolve, reject) => {
      const fail = (why: string) =>
        reject(
          errors.SANDBOX_ERR_UNSUPPORTED({
            details: { what: 'the battery', why, hint: 'runtime doctor says what is missing' },
          }),
        );
      child.once('error', (e) => fail(e.message));
      child.once('close', (code, signal) => {
        if (code === 0 && text !== '') resolve(JSON.parse(text) as readonly string[]);
        else fail(`it ended with ${signal ?? code}: ${complaint.trim().slice(0, 500)}`);
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#neighbour.kill('SIGKILL');
    this.#server.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
