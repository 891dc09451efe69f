// What outlives the code of the plugin: where a command that goes on for long finds the VMs, whichever version of the code
// looks after them now. Plain data, since the code that made it is replaced.

import type { ConciergeManager } from './concierge-manager.ts';

export interface Desk {
  /** `undefined` while the code is replaced. */
  serving: Pick<ConciergeManager, 'untilGone'> | undefined;
  /** The plugin is unloaded for good. */
  closed: boolean;
  readonly waiting: Set<() => void>;
}

export function newDesk(): Desk {
  return { serving: undefined, closed: false, waiting: new Set() };
}

/** From now on it answers; `undefined`: nobody, until the next call of this. */
export function serve(desk: Desk, manager: Desk['serving']): void {
  desk.serving = manager;
  if (manager !== undefined) wake(desk);
}

export function closeDesk(desk: Desk): void {
  desk.serving = undefined;
  desk.closed = true;
  wake(desk);
}

/** Resolves when the VM is gone, or nobody looks after it any more. */
export async function untilGone(desk: Desk, name: string, owner?: string): Promise<void> {
  const owned = owner === undefined ? {} : { owner };
  while (!desk.closed) {
    if (desk.serving === undefined) await new Promise<void>((resolve) => desk.waiting.add(resolve));
    else if (await desk.serving.untilGone(name, owned)) return;
    // Who let go of it serves a moment longer.
    else if (desk.serving !== undefined) await new Promise((resolve) => setImmediate(resolve));
  }
}

function wake({ waiting }: Desk): void {
  const woken = [...waiting];
  waiting.clear();
  for (const resolve of woken) resolve();
}
