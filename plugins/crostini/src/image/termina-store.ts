// Which images of Termina there are, and which of them its user chose. A record is a small file beside the others of
// the cache; what it names may have been removed from there, and then it is as good as none.

import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { imageCache, verifyVerity, writeWhole } from '@runtime/sdk/image';
import { z } from 'zod';
import type { ImageProfile } from '../contract.ts';
import { errors } from '../errors.ts';

const recordSchema = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{32}$/),
  profile: z.enum(['full', 'fast']),
  kernel: z.string(),
  /** Of the kernel and its modules. */
  release: z.string(),
  initrd: z.string(),
  /** Of a boot with dm-verity. */
  verityInitrd: z.string(),
  rootfs: z.string(),
  rootHash: z.string().regex(/^[0-9a-f]{64}$/),
  dataBlocks: z.int().min(2),
  /** Folder of the programs that make the file system of its state disk. */
  tools: z.string().optional(),
  /** In ms since 1970. */
  madeAt: z.number(),
});

export type ImageRecord = Readonly<z.infer<typeof recordSchema>>;

const folder = (): string => join(imageCache(), 'termina');
const recordFile = (id: string): string => join(folder(), `${id}.json`);
const choiceFile = (profile: ImageProfile): string => join(folder(), `use-${profile}`);

function read(id: string): ImageRecord | undefined {
  if (!/^[0-9a-f]{32}$/.test(id)) return undefined;
  let record: ImageRecord;
  try {
    record = recordSchema.parse(JSON.parse(readFileSync(recordFile(id), 'utf8')));
  } catch {
    return undefined;
  }
  const { kernel, initrd, verityInitrd, rootfs } = record;
  return [kernel, initrd, verityInitrd, rootfs].every((path) => existsSync(path)) ? record : undefined;
}

export async function recordImage(id: string, make: () => Promise<ImageRecord>): Promise<ImageRecord> {
  const known = read(id);
  if (known !== undefined) return known;
  const made = await make();
  writeWhole(recordFile(id), `${JSON.stringify(made, undefined, 2)}\n`);
  removeOld(made);
  return made;
}

/** Of a profile, beside the one that was chosen. */
const KEPT = 3;
/** A VM may still run with a younger one, in ms. */
const YOUNG_MS = 12 * 3_600_000;

/** What newer ones of its profile have taken the place of. */
function removeOld({ profile, madeAt }: ImageRecord): void {
  const chosen = chosenImage(profile)?.id;
  const old = listImages().filter((one) => one.profile === profile && one.id !== chosen);
  for (const one of old.slice(KEPT)) if (one.madeAt < madeAt - YOUNG_MS) removeImage(one);
}

/** Newest first. */
export function listImages(): ImageRecord[] {
  if (!existsSync(folder())) return [];
  const records = readdirSync(folder()).map((name) => read(/^([0-9a-f]{32})\.json$/.exec(name)?.[1] ?? ''));
  return records.filter((one) => one !== undefined).sort((a, b) => b.madeAt - a.madeAt);
}

/**
 * By its id or the beginning of it.
 * @throws CROSTINI_ERR_IMAGE_NOT_FOUND when none, or more than one, begins so
 */
export function findImage(id: string): ImageRecord {
  const found = listImages().filter((one) => id !== '' && one.id.startsWith(id));
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  const why = first === undefined ? 'there is none' : `${found.length} begin so`;
  throw errors.CROSTINI_ERR_IMAGE_NOT_FOUND({ details: { image: id, why } });
}

/** What `chooseImage` chose, when it is still there. */
export function chosenImage(profile: ImageProfile): ImageRecord | undefined {
  if (!existsSync(choiceFile(profile))) return undefined;
  const record = read(readFileSync(choiceFile(profile), 'utf8').trim());
  return record?.profile === profile ? record : undefined;
}

/** From now on, VMs of its profile start with this image, even when a newer one is made. */
export function chooseImage({ id, profile }: ImageRecord): void {
  writeWhole(choiceFile(profile), `${id}\n`);
}

/** From now on, VMs of this profile start with the newest image. */
export function chooseNewest(profile: ImageProfile): void {
  rmSync(choiceFile(profile), { force: true });
}

/** Bytes on the disk of the host. */
export function sizeOfImage({ rootfs, initrd, verityInitrd }: ImageRecord): number {
  return [rootfs, initrd, verityInitrd].reduce((sum, path) => sum + statSync(path).size, 0);
}

/**
 * Reads all of an image.
 * @throws CROSTINI_ERR_IMAGE_DAMAGED
 */
export async function verifyImage({ id, rootfs, rootHash }: ImageRecord): Promise<void> {
  const why = await verifyVerity(rootfs, rootHash);
  if (why !== undefined)
    throw errors.CROSTINI_ERR_IMAGE_DAMAGED({ details: { image: id, why: `in ${rootfs}, ${why}` } });
}

/** Files which another image shares stay. A VM that runs keeps what it has open. */
export function removeImage(record: ImageRecord): void {
  rmSync(recordFile(record.id), { force: true });
  if (existsSync(choiceFile(record.profile)) && chosenImage(record.profile) === undefined) chooseNewest(record.profile);
  const kept = new Set(listImages().flatMap(({ rootfs, initrd, verityInitrd }) => [rootfs, initrd, verityInitrd]));
  for (const path of [record.rootfs, record.initrd, record.verityInitrd]) {
    if (!kept.has(path)) rmSync(path, { force: true });
  }
}
