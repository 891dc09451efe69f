// A runtime with Termina in it and folders of its own, which ends with all its VMs, and commands in their guests.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { type Concierge, concierge } from '../../plugins/crostini/src/contract.ts';
import crostini from '../../plugins/crostini/src/index.ts';
import { openVsh, type VshOptions, type VshSession } from '../../plugins/crostini/src/vsh/client.ts';
import vmm from '../../plugins/vmm/src/index.ts';

export interface Done {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

export class TerminaRig {
  readonly #settings: Readonly<Record<string, unknown>>;
  #folder: string | undefined;
  #runtime: TestRuntime | undefined;
  #runtimeDirBefore: string | undefined;

  /** @param settings of the plugin crostini, which has no D-Bus otherwise */
  constructor(settings: Readonly<Record<string, unknown>> = {}) {
    this.#settings = { dbus: 'off', ...settings };
  }

  get folder(): string {
    if (this.#folder === undefined) throw new Error('the rig is not open');
    return this.#folder;
  }

  get runtime(): TestRuntime {
    if (this.#runtime === undefined) throw new Error('the rig is not open');
    return this.#runtime;
  }

  get termina(): Concierge {
    return this.runtime.get(concierge);
  }

  /** Images are the user's own: the first one on a machine takes minutes. */
  async open(): Promise<void> {
    // Short: paths of sockets have 107 bytes.
    this.#folder = mkdtempSync(join(tmpdir(), 'tt-'));
    this.#runtimeDirBefore = process.env.XDG_RUNTIME_DIR;
    process.env.XDG_RUNTIME_DIR = this.#folder;
    await this.#start();
  }

  /** The runtime ends, and another finds what it has left. */
  async restart(): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
    await this.#start();
  }

  async close(): Promise<void> {
    if (this.#runtime !== undefined) {
      await this.termina.stopAllVms();
      await this.#runtime[Symbol.asyncDispose]();
    }
    if (this.#folder === undefined) return;
    if (this.#runtimeDirBefore === undefined) delete process.env.XDG_RUNTIME_DIR;
    else process.env.XDG_RUNTIME_DIR = this.#runtimeDirBefore;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** As root. */
  async vsh(vm: string, options: Omit<VshOptions, 'socketPath'>): Promise<VshSession> {
    const { directory } = await this.termina.endpoint(vm);
    return await openVsh({ socketPath: join(directory, 'vsock.sock.g9001'), user: 'root', ...options });
  }

  /** A command for the shell of root. */
  async exec(vm: string, command: string): Promise<Done> {
    using session = await this.vsh(vm, { command });
    session.stdin.end();
    const [stdout, stderr, code] = await Promise.all([text(session.stdout), text(session.stderr), session.exit]);
    return { stdout: stdout.trim(), stderr: stderr.trim(), code };
  }

  /** What it prints. @throws when it fails */
  async inGuest(vm: string, command: string): Promise<string> {
    const { stdout, stderr, code } = await this.exec(vm, command);
    if (code !== 0) throw new Error(`"${command}" in ${vm} ended with code ${code}: ${stderr}`);
    return stdout;
  }

  async #start(): Promise<void> {
    this.#runtime = await createTestRuntime({
      plugins: [vmm, crostini],
      config: { crostini: this.#settings },
      stateDirectory: join(this.folder, 'state'),
    });
  }
}
