// A VM of the product with the test guest in it: what `runtime vm start` does, and a way to run commands inside.

import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import sandbox from '../../plugins/sandbox/src/index.ts';
import { type VmDescription, type Vms, vms } from '../../plugins/vmm/src/contract.ts';
import { vsockSocket } from '../../plugins/vmm/src/devices/vsock/host.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { Guest } from '../fixtures/guest/guest.ts';
import { ensureTestGuest } from '../fixtures/guest/test-guest.ts';
import { openVsockStream } from './vsock-stream.ts';

/** Port of the guest on which its agent listens. */
const AGENT_PORT = 1024;
const BOOT_MS = 120_000;
/** With RUNTIME_TEST_JAILED=1 the same tests run with all processes in their jails, and none may start without. */
const jails = process.env.RUNTIME_TEST_JAILED === '1' ? [sandbox] : [];

/** What the machine lacks to boot the test guest, in words. */
export function lacking(): string | undefined {
  const tools = ['qemu-system-x86_64', 'mkfs.erofs', 'qemu-img'];
  const folders = (process.env.PATH ?? '').split(delimiter);
  const missing = tools.filter((tool) => !folders.some((folder) => existsSync(join(folder, tool))));
  if (missing.length > 0) return `${missing.join(', ')} (apt-get install qemu-system-x86 qemu-utils erofs-utils)`;
  return process.arch === 'x64' ? undefined : 'a guest for this architecture';
}

export class Lab implements AsyncDisposable {
  readonly folder: string;
  readonly runtime: TestRuntime;
  readonly vms: Vms;

  private constructor(folder: string, runtime: TestRuntime) {
    this.folder = folder;
    this.runtime = runtime;
    this.vms = runtime.get(vms);
  }

  static async open(): Promise<Lab> {
    // Short: paths of sockets have 107 bytes.
    const folder = mkdtempSync(join(tmpdir(), 'vm-'));
    process.env.XDG_RUNTIME_DIR = folder;
    return new Lab(folder, await createTestRuntime({ plugins: [...jails, vmm] }));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A sparse file. */
  image(name: string, bytes: number): string {
    const path = this.path(name);
    writeFileSync(path, '');
    truncateSync(path, bytes);
    return path;
  }

  /** Boots the test guest with these devices beside its root disk, and waits for its agent. */
  async boot(name: string, description: Partial<VmDescription> = {}): Promise<Booted> {
    const image = await ensureTestGuest();
    const { block = [], params = '', ...rest } = description;
    await this.vms.start({
      name,
      kernel: image.kernel,
      initrd: image.initrd,
      params: [image.params, `agent=vsock:${AGENT_PORT}`, params].flat().join(' '),
      mem: 1024,
      net: [],
      ...rest,
      block: [{ path: image.root, ro: true, id: 'root' }, ...block],
    });
    const { directory } = await this.vms.inspect(name);
    const booted = new Booted(this, name, directory);
    try {
      await booted.reach();
    } catch (e) {
      const log = await booted.console();
      throw new Error(`${e instanceof Error ? e.message : String(e)}; its console:\n${log.slice(-4_000)}`);
    }
    return booted;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Booted {
  readonly name: string;
  readonly directory: string;
  readonly #lab: Lab;
  #guest: Guest | undefined;

  constructor(lab: Lab, name: string, directory: string) {
    this.#lab = lab;
    this.name = name;
    this.directory = directory;
  }

  get guest(): Guest {
    if (this.#guest === undefined) throw new Error('the agent of the guest has not been reached');
    return this.#guest;
  }

  /** Standard output of a script in the guest. @throws when it fails */
  async sh(script: string, timeoutMs = 60_000): Promise<string> {
    return (await this.guest.run(script, { timeoutMs })).output.trim();
  }

  async reach(): Promise<void> {
    const until = Date.now() + BOOT_MS;
    while (this.#guest === undefined) {
      const stream = await openVsockStream(vsockSocket(this.directory), AGENT_PORT).catch(() => undefined);
      if (stream !== undefined) {
        const guest = new Guest(stream);
        await guest.ready(10_000);
        this.#guest = guest;
      } else if (Date.now() > until) throw new Error(`the guest did not come up within ${BOOT_MS / 1000} s`);
      else await sleep(100);
    }
  }

  async console(): Promise<string> {
    const { bytes } = await this.#lab.vms.readConsole(this.name);
    return Buffer.from(bytes).toString();
  }

  /** Of the process of one device. */
  async pid(device: string): Promise<number> {
    const { devices } = await this.#lab.vms.inspect(this.name);
    const pid = devices.find(({ id }) => id === device)?.pid;
    if (pid === undefined) throw new Error(`${device} has no process`);
    return pid;
  }
}

/** What is left in the folder of VMs. */
export function leftOver(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder, { recursive: true }).map(String) : [];
}
