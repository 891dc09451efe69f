// What a guest is booted with: what its description says, or the default guest.

import { bootableKernel } from '@runtime/sdk/image';
import type { VmPlan } from '../description/resolve.ts';
import { ensureDefaultGuest } from '../guest/default-guest.ts';
import type { BootFiles } from '../vms/assemble.ts';

/**
 * For a kernel of the user's: a console, an end instead of a wait after a panic, and no doubt about the clock, which a busy
 * host gives rise to. What the user says comes later and counts.
 */
const BASE_PARAMS = 'console=ttyS0 panic=-1 tsc=reliable';

/** @throws SDK_ERR_IMAGE_… */
export async function bootFiles(plan: Pick<VmPlan, 'kernel' | 'initrd' | 'params'>): Promise<BootFiles> {
  const join = (base: string): string => [base, plan.params].filter((part) => part !== '').join(' ');
  if (plan.kernel === undefined) {
    const { kernel, initrd, params } = await ensureDefaultGuest();
    return { kernel, initrd, params: join(params) };
  }
  return { kernel: await bootableKernel(plan.kernel), initrd: plan.initrd, params: join(BASE_PARAMS) };
}
