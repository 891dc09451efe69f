// What the D-Bus does with disks.

import { isRuntimeError } from '@runtime/sdk';
import type { Concierge, TerminaType } from '../contract.ts';
import type { DiskInfo, DiskJob, Disks } from '../contract-disks.ts';
import { checkOwner, checkVmName, orRefused, Refusal, safeNumber } from './requests.ts';
import type { Handlers, Response } from './types.ts';
import { VM_TYPES } from './vm-info.ts';

type DiskMethods = Pick<
  Handlers,
  | 'CreateDiskImage'
  | 'DestroyDiskImage'
  | 'ResizeDiskImage'
  | 'ExportDiskImage'
  | 'ImportDiskImage'
  | 'DiskImageStatus'
  | 'CancelDiskImageOperation'
  | 'ListVmDisks'
>;

type Status = NonNullable<Response<'DiskImageStatusResponse'>['status']>;
type VmType = Response<'VmDiskInfo'>['vm_type'];

/** What an error means to a client. */
const STATUS_OF_ERROR: Readonly<Record<string, Status>> = {
  CROSTINI_ERR_DISK_NOT_FOUND: 'DISK_STATUS_DOES_NOT_EXIST',
  CROSTINI_ERR_DISK_EXISTS: 'DISK_STATUS_EXISTS',
  CROSTINI_ERR_DISK_SPACE: 'DISK_STATUS_NOT_ENOUGH_SPACE',
  CROSTINI_ERR_DISK_IMAGE: 'DISK_STATUS_BAD_IMAGE',
  CROSTINI_ERR_DISK_TYPE: 'DISK_STATUS_BAD_IMAGE',
};

/** What a job has made when it is done. */
const STATUS_WHEN_DONE: Readonly<Record<DiskJob['kind'], Status>> = {
  resize: 'DISK_STATUS_RESIZED',
  export: 'DISK_STATUS_CREATED',
  import: 'DISK_STATUS_CREATED',
};

interface Failed {
  readonly status: Status;
  readonly failure_reason: string;
}

function failed(failure_reason: string, e: unknown): Failed {
  const status = isRuntimeError(e) ? STATUS_OF_ERROR[e.code] : undefined;
  return { status: status ?? 'DISK_STATUS_FAILED', failure_reason };
}

/** A job, as DiskImageStatus and the signal tell of it. */
export function jobStatus(job: DiskJob): Response<'DiskImageStatusResponse'> {
  const base = { command_uuid: job.uuid, progress: job.percent };
  if (job.state === 'running') return { ...base, status: 'DISK_STATUS_IN_PROGRESS' };
  if (job.state === 'done') return { ...base, status: STATUS_WHEN_DONE[job.kind] };
  if (job.state === 'cancelled') return { ...base, status: 'DISK_STATUS_FAILED', failure_reason: 'cancelled' };
  const status = STATUS_OF_ERROR[job.error?.code ?? ''] ?? 'DISK_STATUS_FAILED';
  return { ...base, status, failure_reason: job.error?.message ?? 'unknown' };
}

/** Of a job that was just begun; small ones are done already. */
function begun(job: DiskJob): { status: Status; failure_reason?: string; command_uuid: string } {
  const { status = 'DISK_STATUS_IN_PROGRESS', failure_reason, command_uuid } = jobStatus(job);
  return { status, command_uuid: command_uuid ?? '', ...(failure_reason !== undefined && { failure_reason }) };
}

export interface DiskDependencies {
  readonly disks: Disks;
  readonly concierge: Concierge;
  readonly removeLogs?: ((name: string, owner: string) => void) | undefined;
}

export function diskMethods({ disks, concierge, removeLogs }: DiskDependencies): DiskMethods {
  const address = (owner_id: string, vm: string): { owner: string; vm: string } => {
    const owner = checkOwner(owner_id);
    checkVmName(vm);
    return { owner, vm };
  };

  return {
    CreateDiskImage: (request, fds) =>
      orRefused<Response<'CreateDiskImageResponse'>>(async () => {
        const disk = address(request.cryptohome_id, request.vm_name);
        refuseLocation(request.storage_location);
        if (request.image_type !== 'DISK_IMAGE_RAW' && request.image_type !== 'DISK_IMAGE_AUTO')
          throw new Refusal('Disks are made raw');
        if (request.copy_baguette_image || fds.length > 0)
          throw new Refusal('A disk is made empty; ImportDiskImage takes one that is there');
        if (
          request.filesystem_type !== 'UNSPECIFIED' ||
          request.mkfs_opts.length > 0 ||
          request.tune2fs_opts.length > 0
        )
          throw new Refusal('The guest makes the file system of its disk itself');
        const type = terminaType(request.vm_type);
        const { status, path } = await disks.create({
          ...disk,
          bytes: safeNumber(request.disk_size, 'The size'),
          allocation: allocationOf(request.allocation_type),
          ...(type !== undefined && { type }),
        });
        return { status: status === 'created' ? 'DISK_STATUS_CREATED' : 'DISK_STATUS_EXISTS', disk_path: path };
      }, failed),

    DestroyDiskImage: (request) =>
      orRefused<Response<'DestroyDiskImageResponse'>>(async () => {
        const disk = address(request.cryptohome_id, request.vm_name);
        await concierge.stopVm(disk.vm, { owner: disk.owner, reason: 'DESTROY_DISK_IMAGE_REQUESTED' });
        await disks.destroy(disk);
        removeLogs?.(disk.vm, disk.owner);
        return { status: 'DISK_STATUS_DESTROYED' };
      }, failed),

    ResizeDiskImage: (request) =>
      orRefused<Response<'ResizeDiskImageResponse'>>(async () => {
        const disk = address(request.cryptohome_id, request.vm_name);
        return begun(await disks.resize({ ...disk, bytes: safeNumber(request.disk_size, 'The size') }));
      }, failed),

    ExportDiskImage: (request, fds) =>
      orRefused<Response<'ExportDiskImageResponse'>>(async () => {
        const disk = address(request.cryptohome_id, request.vm_name);
        const [to, digest] = fds;
        if (to === undefined) throw new Refusal('There is no descriptor to write to');
        if (request.generate_sha256_digest && digest === undefined)
          throw new Refusal('There is no second descriptor, for the digest');
        const { force } = request;
        const wanted = request.generate_sha256_digest && digest !== undefined;
        return begun(await disks.export({ ...disk, to: { fd: to }, force, ...(wanted && { digest: { fd: digest } }) }));
      }, failed),

    ImportDiskImage: (request, fds) =>
      orRefused<Response<'ImportDiskImageResponse'>>(async () => {
        const disk = address(request.cryptohome_id, request.vm_name);
        refuseLocation(request.storage_location);
        const [from] = fds;
        if (from === undefined) throw new Refusal('There is no descriptor to read from');
        const type = terminaType(request.vm_type);
        return begun(await disks.import({ ...disk, from: { fd: from }, ...(type !== undefined && { type }) }));
      }, failed),

    DiskImageStatus: ({ command_uuid }) =>
      orRefused<Response<'DiskImageStatusResponse'>>(
        async () => jobStatus(await disks.status(command_uuid)),
        (failure_reason) => ({ status: 'DISK_STATUS_FAILED', failure_reason, command_uuid }),
      ),

    CancelDiskImageOperation: ({ command_uuid }) =>
      orRefused<Response<'SuccessFailureResponse'>>(
        async () => {
          await disks.cancel(command_uuid);
          return { success: true };
        },
        (failure_reason) => ({ success: false, failure_reason }),
      ),

    ListVmDisks: (request) =>
      orRefused<Response<'ListVmDisksResponse'>>(
        async () => {
          const owner = checkOwner(request.cryptohome_id);
          if (request.vm_name !== '') checkVmName(request.vm_name);
          if (request.storage_location !== 'STORAGE_CRYPTOHOME_ROOT' && !request.all_locations)
            return { success: true };
          const found = await disks.list({ owner, ...(request.vm_name !== '' && { vm: request.vm_name }) });
          const total_size = found.reduce((sum, { bytes }) => sum + BigInt(bytes), 0n);
          return { success: true, images: found.map(diskInfo), total_size };
        },
        (failure_reason) => ({ success: false, failure_reason }),
      ),
  };
}

function refuseLocation(location: unknown): void {
  if (location !== 'STORAGE_CRYPTOHOME_ROOT')
    throw new Refusal('There is one place for disks, STORAGE_CRYPTOHOME_ROOT');
}

function allocationOf(type: unknown): 'auto' | 'sparse' | 'preallocate' {
  if (type === 'DISK_ALLOCATION_TYPE_AUTO') return 'auto';
  if (type === 'DISK_ALLOCATION_TYPE_SPARSE') return 'sparse';
  if (type === 'DISK_ALLOCATION_TYPE_PREALLOCATE') return 'preallocate';
  throw new Refusal(`There is no allocation ${String(type)}`);
}

function terminaType(type: unknown): TerminaType | undefined {
  if (type === 'UNKNOWN') return undefined;
  const found = Object.entries(VM_TYPES).find(([, wire]) => wire === type);
  if (found === undefined) throw new Refusal(`There are no disks for VMs of type ${String(type)}`);
  return found[0] as TerminaType;
}

function diskInfo(disk: DiskInfo): Response<'VmDiskInfo'> {
  const vm_type: VmType = disk.type === undefined ? 'UNKNOWN' : VM_TYPES[disk.type];
  return {
    name: disk.vm,
    storage_location: 'STORAGE_CRYPTOHOME_ROOT',
    size: BigInt(disk.bytes),
    min_size: BigInt(disk.minBytes ?? 0),
    image_type: 'DISK_IMAGE_RAW',
    user_chosen_size: disk.userChosenSize,
    path: disk.path,
    vm_type,
    has_vm_type: disk.type !== undefined,
  };
}
