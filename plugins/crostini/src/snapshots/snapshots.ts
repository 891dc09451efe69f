// Snapshots of guests that have booted: found for VMs of their kind, and made when there is none.

import type { VmDescription, VmSnapshot, Vms } from '@runtime/plugin-vmm/contract';
import type { Logger } from '@runtime/sdk';
import { TEMPLATE_PREFIX } from '../concierge/names.ts';
import { errors } from '../errors.ts';
import { TEMPLATE_READY } from '../wire/template.ts';
import type { SnapshotStore } from './store.ts';
import { templateKey, templateOf, wakeable } from './template.ts';

/** For a template to boot, ms. */
const BOOT_MS = 180_000;
/** Characters of its console that are looked at; the line stands at their end. */
const CONSOLE_TAIL = 4_096;

export interface SnapshotsOptions {
  readonly vms: Vms;
  readonly store: SnapshotStore;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** `on`: the first VM of its kind waits until there is one. `auto`: it is made beside it, for the next. */
  readonly mode: 'auto' | 'on';
}

export interface FoundSnapshot {
  readonly snapshot: VmSnapshot;
  /** What is started from it. */
  readonly description: VmDescription;
  /** It is no good. */
  discard(): void;
}

export class Snapshots implements AsyncDisposable {
  readonly #options: SnapshotsOptions;
  /** By key. */
  readonly #making: Map<string, Promise<void>> = new Map();
  /** Those which could not be made: once is enough. */
  readonly #failed: Set<string> = new Set();
  readonly #abort: AbortController = new AbortController();

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /** `undefined`: the VM has to boot. */
  async find(description: VmDescription, onWait: () => void): Promise<FoundSnapshot | undefined> {
    const { store, vms, mode } = this.#options;
    const key = templateKey(description, await vms.accelerator());
    if (mode === 'on' && store.find(key) === undefined) {
      onWait();
      await this.#make(key, description);
    }
    const snapshot = store.find(key);
    if (snapshot === undefined) return undefined;
    return { snapshot, description: wakeable(description), discard: () => store.remove(key) };
  }

  /** Sees to it that the next VM of its kind finds one. Nobody waits for it. */
  async prepare(description: VmDescription): Promise<void> {
    const key = templateKey(description, await this.#options.vms.accelerator());
    if (this.#options.store.find(key) === undefined) await this.#make(key, description);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new Error('the runtime ends'));
    await Promise.allSettled(this.#making.values());
  }

  async #make(key: string, description: VmDescription): Promise<void> {
    if (this.#abort.signal.aborted || this.#failed.has(key)) return;
    const making =
      this.#making.get(key) ??
      this.#save(key, description).catch((err: unknown) => {
        this.#making.delete(key);
        if (this.#abort.signal.aborted) return;
        this.#failed.add(key);
        this.#options.log.warn(
          { err },
          'no snapshot was made; VMs of that kind boot until the runtime is started anew',
        );
      });
    this.#making.set(key, making);
    await making;
    this.#making.delete(key);
  }

  async #save(key: string, description: VmDescription): Promise<void> {
    const { vms, store, log } = this.#options;
    const name = `${TEMPLATE_PREFIX}${key.slice(0, 8)}`;
    const started = performance.now();
    await vms.start(templateOf(description, name));
    try {
      await this.#untilReady(name);
      await store.add(key, (folder) => vms.save(name, folder));
    } finally {
      await vms.stop(name, { force: true });
      await vms.remove(name).catch(() => {});
    }
    log.info({ key, ms: Math.round(performance.now() - started) }, 'a snapshot was made, from which VMs now start');
  }

  async #untilReady(vm: string): Promise<void> {
    const { signal } = this.#abort;
    let seen = '';
    let next = 0;
    for (const until = Date.now() + BOOT_MS; Date.now() < until; ) {
      signal.throwIfAborted();
      const chunk = await this.#options.vms.readConsole(vm, { from: next, waitMs: 500 });
      next = chunk.next;
      seen = (seen + Buffer.from(chunk.bytes).toString('latin1')).slice(-CONSOLE_TAIL);
      if (seen.includes(TEMPLATE_READY)) return;
      if (chunk.ended) throw errors.CROSTINI_ERR_SNAPSHOT({ details: { why: `it ended; its console: ${seen}` } });
    }
    throw errors.CROSTINI_ERR_SNAPSHOT({ details: { why: `it did not get that far; its console: ${seen}` } });
  }
}
