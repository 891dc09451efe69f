// StartVm: what is looked at, in which order, and what is refused. Clients know concierge's order.

import { availableParallelism } from 'node:os';
import { isRuntimeError } from '@runtime/sdk';
import type { Concierge, ImageProfile, TerminaVm } from '../contract.ts';
import type { Disks } from '../contract-disks.ts';
import { checkOwner, checkVmName, Refusal, reasonOf } from './requests.ts';
import type { Request, Response } from './types.ts';
import { vmInfo, vmStatus } from './vm-info.ts';

/** As many as concierge attaches. */
const DISKS_MAX = 10;
const PARAMETERS_MAX = 64;
const PARAMETER_BYTES_MAX = 1024;

export interface StartDependencies {
  readonly concierge: Concierge;
  readonly disks: Disks | undefined;
}

type StartRequest = Request<'StartVmRequest'>;
type StartResponse = Response<'StartVmResponse'>;

export async function startVm(
  { concierge, disks }: StartDependencies,
  request: StartRequest,
  fds: readonly number[],
): Promise<StartResponse> {
  try {
    if (request.fds.length !== fds.length)
      throw new Refusal(`${request.fds.length} descriptors are named, and ${fds.length} came`);
    const owner = checkOwner(request.owner_id);
    checkVmName(request.name);
    if (request.cpus > availableParallelism()) throw new Refusal('Invalid CPU count');
    const running = await find(concierge, request.name, owner);
    if (running?.state === 'running' || running?.state === 'starting') return started(running);
    if (await disks?.busy({ owner, vm: request.name }))
      return failed('A disk operation for the VM is in progress', 'VM_STATUS_DISK_OP_IN_PROGRESS');
    const profile = profileOf(request);
    refuseUnknownWishes(request);
    await checkDisks(request, { owner, profile, disks });
    const vm = await concierge.startVm({
      ...{ name: request.name, owner, profile },
      ...(request.cpus > 0 && { cpus: request.cpus }),
      ...(request.timeout > 0 && { timeoutMs: request.timeout * 1000 }),
      ...(request.kernel_params.length > 0 && { kernelParams: request.kernel_params }),
    });
    return started(vm);
  } catch (e) {
    const isBusy = isRuntimeError(e, 'CROSTINI_ERR_DISK_OP_IN_PROGRESS');
    return failed(reasonOf(e), isBusy ? 'VM_STATUS_DISK_OP_IN_PROGRESS' : 'VM_STATUS_FAILURE');
  }
}

async function find(concierge: Concierge, name: string, owner: string): Promise<TerminaVm | undefined> {
  try {
    return await concierge.getVm(name, { owner });
  } catch (e) {
    if (isRuntimeError(e, 'CROSTINI_ERR_VM_NOT_FOUND')) return undefined;
    throw e;
  }
}

function started(vm: TerminaVm): StartResponse {
  return { success: true, vm_info: vmInfo(vm), status: vmStatus(vm), mount_result: 'SUCCESS' };
}

function failed(failure_reason: string, status: NonNullable<StartResponse['status']>): StartResponse {
  return { success: false, failure_reason, status };
}

/** Baguette comes before Borealis, that before Termina, and that before Bruschetta. */
function profileOf(request: StartRequest): ImageProfile {
  const { vm_type, start_termina, vm } = request;
  if (vm_type === 'BAGUETTE') throw new Refusal('There are no Baguette VMs yet');
  if (vm_type === 'BOREALIS' || vm?.dlc_id === 'borealis-dlc')
    throw new Refusal('Borealis belongs to ChromeOS, and is not there');
  if (vm_type === 'TERMINA' || start_termina) return 'full';
  if (vm_type === 'BRUSCHETTA' || vm?.bios_dlc_id === 'edk2-ovmf-dlc' || request.name === 'bru')
    throw new Refusal('VMs boot their kernel at once: there is no firmware for Bruschetta');
  if (vm_type === 'UNKNOWN') return 'fast';
  throw new Refusal(`StartVm starts no VM of type ${vm_type}`);
}

/** Nothing is passed over that would make another VM of it. What only says how the VM looks on a screen is. */
function refuseUnknownWishes(request: StartRequest): void {
  const [kind] = request.fds;
  if (kind !== undefined)
    throw new Refusal(`A VM is started with the image there is; a descriptor of its ${kind} cannot be taken yet`);
  if (request.writable_rootfs) throw new Refusal('The root file system of a VM can only be read');
  if (request.oem_strings.length > 0) throw new Refusal('VMs have no OEM strings yet');
  if (request.vtpm_proxy) throw new Refusal('VMs have no TPM');
  if (request.enable_dgpu_passthrough) throw new Refusal('VMs cannot be given a GPU of the host');
  const isTooMuch =
    request.kernel_params.length > PARAMETERS_MAX ||
    request.kernel_params.some((one) => one.length > PARAMETER_BYTES_MAX || /[^\x20-\x7e]/.test(one));
  if (isTooMuch) throw new Refusal('The kernel parameters are too many, too long, or no text');
}

/** A VM of ours has one disk of its own, which CreateDiskImage has made; it is attached whether or not it is named. */
async function checkDisks(
  request: StartRequest,
  { owner, profile, disks }: { owner: string; profile: ImageProfile; disks: Disks | undefined },
): Promise<void> {
  if (request.disks.length > DISKS_MAX) throw new Refusal('Rejecting request with too many disks');
  if (profile === 'full' && request.disks.length === 0) throw new Refusal('Missing required stateful disk');
  if (request.disks.length === 0) return;
  const own = (await disks?.list({ owner, vm: request.name }))?.[0]?.path;
  const foreign = request.disks.find(({ path }) => path !== own);
  if (foreign === undefined) return;
  const hint = own === undefined ? 'the VM has none: CreateDiskImage makes it' : `that of the VM is ${own}`;
  throw new Refusal(`Disk ${JSON.stringify(foreign.path.slice(0, 200))} cannot be attached; ${hint}`);
}
