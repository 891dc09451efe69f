// Makes a disk of a file that anybody may have made.

import { closeSync, constants, fstatSync, fsyncSync, ftruncateSync, openSync } from 'node:fs';
import { basename } from 'node:path';
import type { DiskImages } from '@runtime/plugin-vmm/contract';
import type { TerminaType } from '../contract.ts';
import type { ImportFormat } from '../contract-disks.ts';
import { errors } from '../errors.ts';
import { convert } from './export-job.ts';
import type { JobControl } from './jobs.ts';
import { runTask } from './run-task.ts';
import type { DiskPlace, DiskStore } from './store.ts';

const BLOCK = 4096;

export interface ImportRequest {
  readonly place: DiskPlace;
  /** Of openSource(); runImport() closes it. */
  readonly source: { readonly fd: number; readonly size: number | undefined };
  readonly format: ImportFormat;
  readonly type: TerminaType | undefined;
  /** Of the disk, in bytes. */
  readonly maxBytes: number;
}

interface Places {
  readonly store: DiskStore;
  readonly images: DiskImages;
}

/** Nothing is left of it unless it succeeds. @throws CROSTINI_ERR_DISK_…, VMM_ERR_DISK_… */
export async function runImport(request: ImportRequest, places: Places, control: JobControl): Promise<void> {
  const { store, images } = places;
  const { place, source, format, maxBytes } = request;
  try {
    const path = store.build(place);
    let told: TerminaType | 'unknown' | undefined;
    if (format === 'zstd') told = await unpack(path, request, control);
    else {
      const from = { path: `/proc/self/fd/${source.fd}`, format, maxSize: maxBytes, backing: false } as const;
      await convert(images, { from, to: { path, format: 'raw' } }, control);
      finish(path);
    }
    control.signal.throwIfAborted();
    store.keep(place, { type: typeOf(request.type, told), userChosenSize: true });
  } finally {
    closeSync(source.fd);
    store.discard(place);
  }
}

/** ChromeOS' container, or the zip file that it was before. */
async function unpack(
  path: string,
  { source, place, maxBytes }: ImportRequest,
  { signal, progress }: JobControl,
): Promise<TerminaType | 'unknown' | undefined> {
  const target = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    const name = basename(place.image);
    const task = { kind: 'import', source: source.fd, size: source.size, target, name, maxBytes } as const;
    return (await runTask(task, progress, signal)).type;
  } finally {
    closeSync(target);
  }
}

/** A whole number of blocks, whatever the image had, and for its user alone. */
function finish(path: string): void {
  const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    ftruncateSync(fd, Math.ceil(fstatSync(fd).size / BLOCK) * BLOCK);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function typeOf(asked: TerminaType | undefined, told: TerminaType | 'unknown' | undefined): TerminaType {
  const refuse = (why: string): Error => errors.CROSTINI_ERR_DISK_TYPE({ details: { why } });
  if (told === 'unknown') throw refuse('the file is of one that there is not here');
  if (asked !== undefined && told !== undefined && asked !== told)
    throw refuse(`the file is of ${told}, and ${asked} was asked for`);
  const type = asked ?? told;
  if (type === undefined) throw refuse('the file does not say it');
  return type;
}
