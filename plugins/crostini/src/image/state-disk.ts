// The file system of a new state disk. Guests make it themselves when there is none, for which one with an emulated CPU
// takes seconds; here it takes milliseconds.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBase, type OnProgress } from '@runtime/sdk/image';
import { runPackaged } from './packaged-program.ts';
import { listImages } from './termina-store.ts';

const MKFS = 'usr/sbin/mkfs.btrfs';

/** Of the same packages as the image's. @returns the folder that they are unpacked in */
export async function ensureDiskTools(onProgress: OnProgress, refresh: boolean): Promise<string> {
  const { tree } = await ensureBase({ packages: ['btrfs-progs'], onProgress, refresh });
  return tree;
}

/**
 * Makes a btrfs of the size of the file, with identifiers of its own; what is in the file is lost.
 * @returns whether it could: not before there is an image that disks are for
 * @throws Error with what mkfs said
 */
export async function formatStateDisk(path: string): Promise<boolean> {
  const tools = listImages().find((image) => image.tools !== undefined && existsSync(join(image.tools, MKFS)))?.tools;
  if (tools === undefined) return false;
  // Nothing is to be discarded: it is new.
  await runPackaged(tools, MKFS, ['--quiet', '--nodiscard', '--', path]);
  return true;
}
