// Whether a guest checks its image while it runs (dm-verity), and what it says when the image is not what it was.

import type { Vms } from '@runtime/plugin-vmm/contract';
import type { CrostiniConfig } from '../config.ts';

/** What is done when nobody has decided: SHA-256 takes seconds of a start where the CPU is emulated. */
export async function checksImages(wish: CrostiniConfig['verity'], vms: Pick<Vms, 'accelerator'>): Promise<boolean> {
  return wish === 'auto' ? (await vms.accelerator()) === 'kvm' : wish === 'on';
}

/** verity_handle_err of drivers/md/dm-verity-target.c of the kernel. */
const COMPLAINT = /device-mapper: verity: \S{1,16}: (data|metadata) block (\d{1,15}) is corrupted/;

/** What a guest found wrong with its image, by what is on its console, which it may write what it likes to; in words. */
export function damageOn(console: string): string | undefined {
  const [, kind, block] = COMPLAINT.exec(console) ?? [];
  if (block === undefined) return undefined;
  return kind === 'data'
    ? `block ${block} does not match its hash`
    : `block ${block}, of its hash tree, does not match its root hash or the block above`;
}
