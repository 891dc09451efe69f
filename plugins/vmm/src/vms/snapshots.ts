// What a VM has to be like to go on from a snapshot, and where its other devices find room.

import type { Accelerator, VmSnapshot } from '../contract.ts';
import type { VmPlan } from '../description/resolve.ts';
import { errors } from '../errors.ts';
import type { BootFiles } from './assemble.ts';
import { FIRST_SLOT } from './leases.ts';

/** All that the state of a machine depends on, apart from its devices. */
export function shapeOf(plan: VmPlan, { kernel, initrd, params }: BootFiles, accelerator: Accelerator): string {
  const { board, memoryMib, cpus } = plan;
  return JSON.stringify({ board, accelerator, memoryMib, cpus, kernel, initrd, params });
}

/** @throws VMM_ERR_SNAPSHOT when that VM cannot go on from it */
export function checkSnapshot({ path, shape, slots }: VmSnapshot, plan: VmPlan, ownShape: string): void {
  const refuse = (why: string): Error =>
    errors.VMM_ERR_SNAPSHOT({ details: { path, vm: plan.name, verb: 'loaded', why } });
  if (plan.board !== 'pc') throw refuse(`a machine of kind ${plan.board} takes no devices while it runs`);
  if (plan.serials.length > 0) throw refuse('it has serial ports beside the console');
  if (shape !== ownShape) throw refuse(`it is of another kind of VM: ${shape}, and not ${ownShape}`);
  const ids = new Set(idsOf(plan));
  const missing = Object.keys(slots).find((id) => !ids.has(id));
  if (missing !== undefined) throw refuse(`the VM lacks device ${missing}, which is in it`);
}

/**
 * What is in the snapshot stays where it is. vsock comes last: guests look at their slots in this order, and whoever can
 * be called has everything else by then.
 */
export function slotsAfter({ slots }: VmSnapshot, plan: VmPlan): Readonly<Record<string, number>> {
  const used = new Set(Object.values(slots));
  const all: Record<string, number> = { ...slots };
  let next = FIRST_SLOT;
  for (const id of pluggedAfter(slots, plan)) {
    while (used.has(next)) next += 1;
    used.add(next);
    all[id] = next;
  }
  return all;
}

/** In the order in which they are plugged in. */
export function pluggedAfter(slots: VmSnapshot['slots'], plan: VmPlan): readonly string[] {
  const isLast = new Set(plan.devices.filter(({ wantsCid }) => wantsCid).map(({ id }) => id));
  return idsOf(plan)
    .filter((id) => slots[id] === undefined)
    .toSorted((a, b) => Number(isLast.has(a)) - Number(isLast.has(b)));
}

/** Of what a VM has: what is in the snapshot, or what is not. */
export function partsOf(
  { devices, natives }: VmPlan,
  { slots }: VmSnapshot,
  isInside: boolean,
): Pick<VmPlan, 'devices' | 'natives'> {
  const wanted = ({ id }: { readonly id: string }): boolean => (slots[id] !== undefined) === isInside;
  return { devices: devices.filter(wanted), natives: natives.filter(wanted) };
}

function idsOf({ devices, natives }: VmPlan): readonly string[] {
  return [...devices, ...natives].map(({ id }) => id);
}
