// Takes a disk out of the store.

import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DiskImages } from '@runtime/plugin-vmm/contract';
import { lockRange } from '@runtime/sdk/linux';
import type { DiskFile, ExportFormat } from '../contract-disks.ts';
import { errors } from '../errors.ts';
import { moveInto } from './files.ts';
import { openTarget, type Target } from './files-of-jobs.ts';
import type { JobControl } from './jobs.ts';
import type { Journal } from './journal.ts';
import { runTask } from './run-task.ts';
import type { StoredDisk } from './store.ts';

const POLL_MS = 250;

export interface ExportRequest {
  readonly disk: StoredDisk;
  readonly to: DiskFile;
  readonly digest: DiskFile | undefined;
  readonly format: ExportFormat;
  readonly overwrite: boolean;
  /** Whether the disk may be in use. */
  readonly force: boolean;
}

interface Places {
  readonly journal: Journal;
  readonly images: DiskImages;
}

/** Nothing is left of it unless it succeeds, except in pipes. */
export async function runExport(request: ExportRequest, places: Places, control: JobControl): Promise<void> {
  const { to, digest, overwrite } = request;
  const named = [to, digest].filter((file) => typeof file === 'string');
  const temporaries = places.journal.begin(control.uuid, named);
  const temporaryOf = (file: DiskFile): string | undefined =>
    typeof file === 'string' ? temporaries[named.indexOf(file)] : undefined;
  const targets: Target[] = [];
  let isDone = false;
  try {
    const sum = digest === undefined ? undefined : openTarget(digest, temporaryOf(digest));
    if (sum !== undefined) targets.push(sum);
    if (request.format === 'qcow2') await exportQcow2(request, temporaryOf(to) as string, sum, places, control);
    else {
      const target = openTarget(to, temporaryOf(to));
      targets.push(target);
      await exportZstd(request, target, sum, control);
    }
    control.signal.throwIfAborted();
    for (const file of named) moveInto(temporaryOf(file) as string, file, { overwrite });
    isDone = true;
  } finally {
    for (const target of targets) {
      if (!isDone) target.undo();
      closeSync(target.fd);
    }
    places.journal.end(control.uuid, temporaries);
  }
}

async function exportZstd(
  { disk, force }: ExportRequest,
  target: Target,
  digest: Target | undefined,
  { signal, progress }: JobControl,
): Promise<void> {
  const { place, facts } = disk;
  const fd = openSync(place.image, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    // A device of a VM that was not told of has it alone.
    if (!force && !lockRange(fd, 'read'))
      throw errors.CROSTINI_ERR_DISK_IN_USE({ details: { vm: place.vm, verb: 'exported' } });
    const { size } = fstatSync(fd);
    const task = { kind: 'export', disk: fd, size, target: target.fd, digest: digest?.fd, type: facts.type } as const;
    await runTask(task, progress, signal);
  } finally {
    closeSync(fd);
  }
}

async function exportQcow2(
  { disk, force }: ExportRequest,
  temporary: string,
  digest: Target | undefined,
  { images }: Places,
  control: JobControl,
): Promise<void> {
  const from = { path: disk.place.image, format: 'raw', lock: !force } as const;
  await convert(images, { from, to: { path: temporary, format: 'qcow2' } }, control);
  if (digest === undefined) return;
  const source = openSync(temporary, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await runTask({ kind: 'digest', source, digest: digest.fd }, () => {}, control.signal);
  } finally {
    closeSync(source);
  }
}

/** Has the vmm plugin copy an image. @throws VMM_ERR_DISK_… */
export async function convert(
  images: DiskImages,
  request: Parameters<DiskImages['convert']>[1],
  { uuid, signal, progress }: JobControl,
): Promise<void> {
  signal.throwIfAborted();
  const cancel = (): void => void images.cancel(uuid);
  signal.addEventListener('abort', cancel, { once: true });
  const ended = new AbortController();
  try {
    const copy = images.convert(uuid, request);
    void follow(images, uuid, progress, ended.signal);
    await copy;
  } finally {
    ended.abort();
    signal.removeEventListener('abort', cancel);
  }
}

async function follow(
  images: DiskImages,
  uuid: string,
  progress: (fraction: number) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    for (;;) {
      await sleep(POLL_MS, undefined, { signal });
      progress((await images.progress(uuid)) ?? 0);
    }
  } catch {
    // Whoever waits for the copy is told how it ended.
  }
}
