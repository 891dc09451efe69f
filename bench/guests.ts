// Two guests of one kind, side by side: one whose devices are ours, booted as `runtime vm start` does it, and one whose
// devices are QEMU's own, with the same kernel, board, CPU (which keeps its memory barriers for either's sake) and memory.

import { Guest } from '../test/fixtures/guest/guest.ts';
import { PlainQemu } from '../test/fixtures/guest/plain-qemu.ts';
import { ensureTestGuest } from '../test/fixtures/guest/test-guest.ts';
import { type Booted, Lab, lacking } from '../test/vm/lab.ts';

const MEMORY_MIB = 1024;

export interface Scripts {
  /** Standard output of a script in the guest. @throws when it fails */
  sh(script: string, timeoutMs?: number): Promise<string>;
}

export interface TwoGuestsOptions {
  /** Of ours, beside its root disk and without a network card. */
  readonly ours: (lab: Lab) => Parameters<Lab['boot']>[1];
  /** Of QEMU, for the peer. */
  readonly peer: (lab: Lab) => readonly string[] | Promise<readonly string[]>;
}

export class TwoGuests implements AsyncDisposable {
  readonly ours: Booted;
  readonly peer: Scripts;
  readonly #parts: AsyncDisposableStack;

  /** @throws Error naming what is to be installed */
  static async boot({ ours: describe, peer: options }: TwoGuestsOptions): Promise<TwoGuests> {
    const missing = lacking();
    if (missing !== undefined) throw new Error(`the guests of this benchmark need ${missing}`);
    await using parts = new AsyncDisposableStack();
    const lab = parts.use(await Lab.open());
    const ours = await lab.boot('bench', { mem: MEMORY_MIB, ...describe(lab) });
    const guest = parts.use(await bootPeer(parts, await options(lab)));
    const peer: Scripts = {
      sh: async (script, timeoutMs = 60_000) => (await guest.run(script, { timeoutMs })).output.trim(),
    };
    return new TwoGuests(ours, peer, parts.move());
  }

  private constructor(ours: Booted, peer: Scripts, parts: AsyncDisposableStack) {
    this.ours = ours;
    this.peer = peer;
    this.#parts = parts;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

/** The test guest with QEMU's devices alone. @param options of QEMU, for more of them */
export async function bootPeer(parts: AsyncDisposableStack, options: readonly string[]): Promise<Guest> {
  const { kernel, initrd, params, root } = await ensureTestGuest();
  const plain = parts.use(
    new PlainQemu({
      ...{ kernel, initrd, params, memoryMiB: MEMORY_MIB, maxCpus: 2 },
      options: [...qemuDisk('root', root, 'threads', 'read-only'), ...options],
    }),
  );
  return Guest.connect(plain.agentPath);
}

export type QemuAio = 'threads' | 'io_uring';

/**
 * Options of QEMU for a disk of its own, in the host's page cache as ours are. Without its locks, since ours have the root
 * disk open too. @param serial by which the guest finds it
 */
export function qemuDisk(serial: string, path: string, aio: QemuAio, access: 'read-only' | 'read-write'): string[] {
  const readOnly = `read-only=${access === 'read-only' ? 'on' : 'off'}`;
  const file = `driver=file,node-name=${serial}-file,filename=${path},aio=${aio},cache.direct=off,locking=off`;
  return [
    ...['-blockdev', `${file},${readOnly}`],
    ...['-blockdev', `driver=raw,node-name=${serial},file=${serial}-file,${readOnly}`],
    ...['-device', `virtio-blk-pci,disable-legacy=on,drive=${serial},serial=${serial}`],
  ];
}
