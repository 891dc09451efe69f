// Which VMs may go on from a snapshot, and what the one was like that was saved for them.

import type { Accelerator, VmDescription } from '@runtime/plugin-vmm/contract';
import { hashOf } from '@runtime/sdk/image';
import { TEMPLATE_PARAMETER } from '../wire/template.ts';

/** Changes with what a snapshot holds or is kept like. */
const FORMAT = 1;

/** The same VM, whose guest waits to be woken. */
export function wakeable(description: VmDescription): VmDescription {
  const { params = [] } = description;
  return { ...description, params: [...[params].flat(), TEMPLATE_PARAMETER] };
}

/** With what all VMs of its kind have in common: its image, its memory and its CPUs. */
export function templateOf(description: VmDescription, name: string): VmDescription {
  const { kernel, initrd, params, mem, cpus, balloon, block = [] } = wakeable(description);
  return {
    ...{ name, kernel, initrd, params, mem, cpus, balloon, block: block.slice(0, 1) },
    ...{ net: [], vsock: false, rng: false },
  };
}

/** The same for VMs that can go on from the same snapshot. Files of an image are never changed, so their names do. */
export function templateKey(description: VmDescription, accelerator: Accelerator): string {
  return hashOf(FORMAT, accelerator, templateOf(description, ''));
}
