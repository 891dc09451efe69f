// StartVm: what is looked at, in which order, and what is refused. Clients know concierge's order.

import { fstatSync, readlinkSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { isAbsolute } from 'node:path';
import { isRuntimeError } from '@runtime/sdk';
import { accessOf } from '@runtime/sdk/linux';
import type { BootFiles, Concierge, ExtraDisk, ImageProfile, TerminaVm } from '../contract.ts';
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
  /** User id of a caller. */
  readonly userOf: (sender: string) => Promise<number>;
}

type StartRequest = Request<'StartVmRequest'>;
type StartResponse = Response<'StartVmResponse'>;

export async function startVm(
  deps: StartDependencies,
  request: StartRequest,
  fds: readonly number[],
  sender: string,
): Promise<StartResponse> {
  const { concierge, disks } = deps;
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
    const { files, storage } = filesOf(request, fds);
    const more = await extraDisks(deps, request, storage, { owner, profile });
    if (fds.length + more.length > 0) await refuseOthers(deps, sender);
    const vm = await concierge.startVm({
      ...{ name: request.name, owner, profile },
      ...(request.cpus > 0 && { cpus: request.cpus }),
      ...(request.timeout > 0 && { timeoutMs: request.timeout * 1000 }),
      ...(request.kernel_params.length > 0 && { kernelParams: request.kernel_params }),
      ...(more.length > 0 && { disks: more }),
      ...(Object.keys(files).length > 0 && { files }),
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
  if (request.writable_rootfs) throw new Refusal('The root file system of a VM can only be read');
  if (request.oem_strings.length > 0) throw new Refusal('VMs have no OEM strings yet');
  if (request.vtpm_proxy) throw new Refusal('VMs have no TPM');
  if (request.enable_dgpu_passthrough) throw new Refusal('VMs cannot be given a GPU of the host');
  const isTooMuch =
    request.kernel_params.length > PARAMETERS_MAX ||
    request.kernel_params.some((one) => one.length > PARAMETER_BYTES_MAX || /[^\x20-\x7e]/.test(one));
  if (isTooMuch) throw new Refusal('The kernel parameters are too many, too long, or no text');
}

/** What each kind of descriptor stands in for. */
const FILE_OF = { KERNEL: 'kernel', INITRD: 'initrd', ROOTFS: 'rootfs' } as const;

/** The n-th descriptor is what the n-th name says. */
function filesOf(
  { fds: kinds }: StartRequest,
  fds: readonly number[],
): { readonly files: BootFiles; readonly storage: readonly number[] } {
  const files: Partial<Record<keyof BootFiles, string>> = {};
  const storage: number[] = [];
  for (const [at, fd] of fds.entries()) {
    const kind = kinds[at];
    if (kind === 'STORAGE') {
      storage.push(fd);
      continue;
    }
    if (kind !== 'KERNEL' && kind !== 'INITRD' && kind !== 'ROOTFS')
      throw new Refusal(`VMs boot their kernel at once: there is no firmware, and nothing that takes its ${kind}`);
    if (files[FILE_OF[kind]] !== undefined) throw new Refusal(`Two descriptors of ${kind} came`);
    files[FILE_OF[kind]] = fileOfDescriptor(fd, kind).path;
  }
  return { files, storage };
}

/** Opened by us, files of the caller's must not become those that only we may open. */
async function refuseOthers({ userOf }: StartDependencies, sender: string): Promise<void> {
  const user = await userOf(sender);
  if (user !== 0 && user !== process.getuid?.())
    throw new Refusal('Files that are no disk of the VM can only be given by the user that concierge runs as');
}

/**
 * A VM of ours has one disk of its own, which CreateDiskImage has made; it is attached whether or not it is named. More of them
 * are files of the caller's.
 */
async function extraDisks(
  { disks }: StartDependencies,
  request: StartRequest,
  fds: readonly number[],
  { owner, profile }: { owner: string; profile: ImageProfile },
): Promise<readonly ExtraDisk[]> {
  if (request.disks.length + fds.length > DISKS_MAX) throw new Refusal('Rejecting request with too many disks');
  if (profile === 'full' && request.disks.length + fds.length === 0)
    throw new Refusal('Missing required stateful disk');
  const own = request.disks.length === 0 ? undefined : (await disks?.list({ owner, vm: request.name }))?.[0]?.path;
  const others = request.disks.filter(({ path }) => path !== own);
  return [...others.map(namedDisk), ...fds.map(diskOfDescriptor)];
}

function namedDisk({ path, writable, image_type }: StartRequest['disks'][number]): ExtraDisk {
  const shown = JSON.stringify(path.slice(0, 200));
  if (!isAbsolute(path) || path.length > 4096 || path.includes('\0'))
    throw new Refusal(`${shown} is no path of a disk`);
  if (image_type !== 'DISK_IMAGE_RAW' && image_type !== 'DISK_IMAGE_AUTO')
    throw new Refusal(`Disk ${shown} cannot be attached, as only raw ones can`);
  return { path, readOnly: !writable };
}

export function diskOfDescriptor(fd: number): ExtraDisk {
  const { path, access } = fileOfDescriptor(fd, 'STORAGE');
  return { path, readOnly: access === 'read' };
}

/** By its path, which is still there when a device is started anew; a descriptor would mean another file then. */
function fileOfDescriptor(fd: number, kind: string): { readonly path: string; readonly access: 'read' | 'read-write' } {
  const given = fstatSync(fd);
  const path = readlinkSync(`/proc/self/fd/${fd}`);
  const found = statSync(path, { throwIfNoEntry: false });
  const isThere = found?.dev === given.dev && found.ino === given.ino && (given.isFile() || given.isBlockDevice());
  if (!isThere) throw new Refusal(`A descriptor of ${kind} has to be that of a file, or a block device, with a name`);
  const access = accessOf(fd);
  if (access === 'write') throw new Refusal(`A descriptor of ${kind} cannot be read from`);
  return { path, access };
}
