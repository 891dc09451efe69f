// Why QEMU ended, from what it said over QMP. qapi/run-state.json of QEMU.

import type { MachineExit } from '../../contract.ts';
import type { QmpEvent } from './qmp.ts';

/** What a SHUTDOWN event gives as its reason. */
const SHUTDOWN: Readonly<Record<string, MachineExit>> = {
  'guest-shutdown': { reason: 'guest-shutdown', detail: 'the guest switched itself off' },
  'guest-reset': { reason: 'guest-reset', detail: 'the guest asked for a reset' },
  'subsystem-reset': { reason: 'guest-reset', detail: 'the guest asked for a reset' },
  'guest-panic': { reason: 'guest-panic', detail: "the guest's kernel panicked" },
  'host-qmp-quit': { reason: 'stopped', detail: 'it was stopped' },
  'host-qmp-system-reset': { reason: 'stopped', detail: 'it was stopped' },
  'host-signal': { reason: 'stopped', detail: 'it was stopped by a signal' },
  'host-ui': { reason: 'stopped', detail: 'it was stopped' },
  'host-error': { reason: 'crashed', detail: 'QEMU met an error of the host' },
};

/** Collects what is said about the end, of which the first word counts: a panic is followed by a reset. */
export class ExitWitness {
  #said: MachineExit | undefined;

  hear({ event, data }: QmpEvent): void {
    if (event === 'GUEST_PANICKED') this.#said ??= SHUTDOWN['guest-panic'];
    if (event === 'SHUTDOWN') this.#said ??= SHUTDOWN[String(data.reason)];
  }

  /** @param asked whether somebody has stopped it */
  conclude(status: { readonly code: number | null; readonly signal: string | null }, asked: boolean): MachineExit {
    if (this.#said !== undefined) return this.#said;
    if (asked) return { reason: 'stopped', detail: 'it was stopped' };
    const { code, signal } = status;
    // Nobody was connected while it ended, as when it ends just as a runtime takes over.
    if (code === 0) return { reason: 'guest-shutdown', detail: 'it ended, and nobody saw why' };
    return { reason: 'crashed', detail: `QEMU ended with ${signal ?? `exit code ${code}`}` };
  }
}
