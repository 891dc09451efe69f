// What outlives the code of the plugin: where commands that go on for long find the VMs, whichever version of the code
// looks after them now. Plain data, since the code that made it is replaced.

import type { Vms } from '../contract.ts';
import { errors } from '../errors.ts';

export interface VmDesk {
  /** `undefined` while the code is replaced. */
  serving: Vms | undefined;
  /** The plugin is unloaded for good. */
  closed: boolean;
  readonly waiting: Set<() => void>;
}

export function newDesk(): VmDesk {
  return { serving: undefined, closed: false, waiting: new Set() };
}

/** From now on `vms` answers; `undefined`: nobody, until the next call of this. */
export function serve(desk: VmDesk, vms: Vms | undefined): void {
  desk.serving = vms;
  if (vms !== undefined) wake(desk);
}

/** Whoever waits gets an error. */
export function closeDesk(desk: VmDesk): void {
  desk.serving = undefined;
  desk.closed = true;
  wake(desk);
}

/** Asks whoever serves when the question comes. @throws VMM_ERR_CLOSING, and what is answered */
export function vmsAt(desk: VmDesk): Vms {
  const ask =
    <K extends keyof Vms>(method: K) =>
    async (...args: Parameters<Vms[K]>): Promise<Awaited<ReturnType<Vms[K]>>> => {
      const vms = await serving(desk);
      const call = vms[method] as (...args: Parameters<Vms[K]>) => ReturnType<Vms[K]>;
      return await call.apply(vms, args);
    };
  return {
    start: ask('start'),
    save: ask('save'),
    stop: ask('stop'),
    list: ask('list'),
    inspect: ask('inspect'),
    accelerator: ask('accelerator'),
    pause: ask('pause'),
    resume: ask('resume'),
    stats: ask('stats'),
    wait: ask('wait'),
    remove: ask('remove'),
    readConsole: ask('readConsole'),
    writeConsole: ask('writeConsole'),
    attach: ask('attach'),
    detach: ask('detach'),
    describeDevice: ask('describeDevice'),
    reloadDevice: ask('reloadDevice'),
    restartDevice: ask('restartDevice'),
    balloon: ask('balloon'),
    requestDevice: ask('requestDevice'),
    traceDevice: ask('traceDevice'),
  };
}

async function serving(desk: VmDesk): Promise<Vms> {
  while (desk.serving === undefined) {
    if (desk.closed) throw errors.VMM_ERR_CLOSING();
    await new Promise<void>((resolve) => desk.waiting.add(resolve));
  }
  return desk.serving;
}

function wake({ waiting }: VmDesk): void {
  const woken = [...waiting];
  waiting.clear();
  for (const resolve of woken) resolve();
}
