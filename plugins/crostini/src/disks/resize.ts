// Changes the size of a disk. Of a VM that runs the order matters: the file system must never reach beyond the disk.

import { closeSync, constants, fsyncSync, ftruncateSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isRuntimeError } from '@runtime/sdk/errors';
import { lockRange } from '@runtime/sdk/linux';
import { errors } from '../errors.ts';
import { writeFacts } from './facts.ts';
import type { GuestFilesystem, RunningDisk } from './guest-filesystem.ts';
import type { JobControl } from './jobs.ts';
import { runTask } from './run-task.ts';
import type { StoredDisk } from './store.ts';

const POLL_MS = 250;
/** A guest that tells nothing else for so long will never be done. */
const MAX_RESIZE_MS = 3_600_000;

/** vms.requestDevice() of the vmm plugin. */
export type RequestDevice = (vm: string, device: string, method: string, params: unknown) => Promise<unknown>;

const refuse = (vm: string, why: string, hint: string): Error =>
  errors.CROSTINI_ERR_DISK_RESIZE({ details: { vm, why, hint } });

/** Whether a disk that nobody uses can have that size. @throws CROSTINI_ERR_DISK_RESIZE */
export function checkStoppedResize({ place, bytes: before, facts }: StoredDisk, bytes: number): void {
  if (bytes >= before || (facts.filesystemBytes !== undefined && facts.filesystemBytes <= bytes)) return;
  throw refuse(
    place.vm,
    'it would become smaller, and how much of it the file system needs is not known',
    `Start the VM, and resize then: runtime start ${place.vm}`,
  );
}

export async function resizeStopped(disk: StoredDisk, bytes: number, control: JobControl): Promise<void> {
  const { place } = disk;
  const fd = openSync(place.image, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    // A device that was not told of has the same lock.
    if (!lockRange(fd, 'write')) throw errors.CROSTINI_ERR_DISK_IN_USE({ details: { vm: place.vm, verb: 'resized' } });
    await setSize(fd, disk, bytes, control);
  } finally {
    closeSync(fd);
  }
  rememberSize(disk, bytes);
}

async function setSize(fd: number, disk: StoredDisk, bytes: number, { signal }: JobControl): Promise<void> {
  if (disk.facts.userChosenSize && bytes > disk.bytes) {
    const task = { kind: 'allocate', disk: fd, offset: disk.bytes, length: bytes - disk.bytes } as const;
    try {
      await runTask(task, () => {}, signal);
    } catch (e) {
      // Gives back what lies beyond the end.
      ftruncateSync(fd, disk.bytes);
      throw e;
    }
  }
  ftruncateSync(fd, bytes);
  fsyncSync(fd);
}

/** The size is now one that somebody chose; a file system that was smaller than the disk may be so still. */
function rememberSize({ place, facts }: StoredDisk, bytes: number): void {
  const { filesystemBytes, ...rest } = facts;
  const isSmaller = filesystemBytes !== undefined && filesystemBytes < bytes;
  writeFacts(place.facts, { ...rest, ...(isSmaller ? { filesystemBytes } : {}) });
}

/** Whoever waits for a guest that ends meanwhile learns what became of its disk. */
async function asked<T>(vm: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    if (isRuntimeError(cause)) throw cause;
    throw errors.CROSTINI_ERR_DISK_RESIZE({
      details: {
        vm,
        why: `its guest did not do its part (${cause instanceof Error ? cause.message : String(cause)})`,
        hint: 'Nothing on it is lost. See whether it runs (runtime list), and resize it again.',
      },
      cause,
    });
  }
}

export async function resizeRunning(
  disk: StoredDisk,
  bytes: number,
  running: RunningDisk,
  requestDevice: RequestDevice,
  control: JobControl,
): Promise<void> {
  const { machine, device, filesystem } = running;
  const { place, facts } = disk;
  const setCapacity = (params: object): Promise<unknown> => requestDevice(machine, device, 'resize', params);
  if (bytes >= disk.bytes) {
    await setCapacity({ capacity: bytes });
    await growAllocation(disk, bytes, control);
    await resizeFilesystem(place.vm, filesystem, bytes, disk.bytes, control);
    return;
  }
  const { minBytes } = await asked(place.vm, filesystem.bounds());
  if (bytes < minBytes)
    throw refuse(
      place.vm,
      `its file system needs ${minBytes} bytes`,
      'Remove files in the guest, or take a larger size.',
    );
  const currentBytes = await resizeFilesystem(place.vm, filesystem, bytes, disk.bytes, control);
  // The guest says what it has done, and would lose what it did not do.
  if (currentBytes > bytes)
    throw refuse(
      place.vm,
      `its file system still has ${currentBytes} bytes`,
      'Remove files in the guest, and try anew.',
    );
  // If this is as far as it gets, the disk can be made smaller later.
  writeFacts(place.facts, { ...facts, filesystemBytes: bytes });
  await setCapacity({ capacity: bytes, shrink: true });
  writeFacts(place.facts, facts);
}

async function growAllocation(disk: StoredDisk, bytes: number, { signal }: JobControl): Promise<void> {
  if (!disk.facts.userChosenSize || bytes === disk.bytes) return;
  const fd = openSync(disk.place.image, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const task = { kind: 'allocate', disk: fd, offset: disk.bytes, length: bytes - disk.bytes } as const;
    await runTask(task, () => {}, signal);
  } finally {
    closeSync(fd);
  }
}

/** What the file system has when the guest is done. */
async function resizeFilesystem(
  vm: string,
  filesystem: GuestFilesystem,
  bytes: number,
  before: number,
  { signal, progress }: JobControl,
): Promise<number> {
  const deadline = Date.now() + MAX_RESIZE_MS;
  await asked(vm, filesystem.resize(bytes));
  for (;;) {
    signal.throwIfAborted();
    const { inProgress, currentBytes } = await asked(vm, filesystem.status());
    if (!inProgress) return currentBytes;
    if (bytes !== before) progress((currentBytes - before) / (bytes - before));
    if (Date.now() > deadline) throw refuse(vm, 'the guest does not finish', 'See what it says: runtime logs.');
    await sleep(POLL_MS, undefined, { signal });
  }
}
