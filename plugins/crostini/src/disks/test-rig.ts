// Disks in a folder of their own, for tests.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiskImages } from '@runtime/plugin-vmm/contract';
import type { DiskJob, Disks } from '../contract-disks.ts';
import { createDisks, type DisksOptions } from './index.ts';

export const OWNER = 'abcdef0123';

/** What the vmm plugin does is tested there. */
export const NO_IMAGES: DiskImages = {
  convert: () => Promise.reject(new Error('no images')),
  progress: () => Promise.resolve(undefined),
  cancel: () => Promise.resolve(),
};

export interface Rig extends AsyncDisposable {
  readonly folder: string;
  readonly disks: Disks & AsyncDisposable;
  readonly told: readonly DiskJob[];
  /** As a new runtime would. */
  again(): Promise<Rig>;
  /** Waits for a job and answers how it ended. */
  ended(job: Promise<DiskJob>): Promise<DiskJob>;
}

export function diskRig(
  options: Partial<DisksOptions> = {},
  folder: string = mkdtempSync(join(tmpdir(), 'disks-')),
): Rig {
  const told: DiskJob[] = [];
  const disks = createDisks({
    stateDirectory: folder,
    defaultOwner: OWNER,
    images: NO_IMAGES,
    requestDevice: () => Promise.reject(new Error('no devices')),
    running: () => Promise.resolve(undefined),
    events: { progress: (job) => told.push(job), done: (job) => told.push(job) },
    ...options,
  });
  return {
    folder,
    disks,
    told,
    async again() {
      await disks[Symbol.asyncDispose]();
      return diskRig(options, folder);
    },
    ended: async (job) => await disks.wait((await job).uuid),
    async [Symbol.asyncDispose]() {
      await disks[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** All files below a folder, as paths relative to it. */
export function filesBelow(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}
