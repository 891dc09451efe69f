// Where disks lie: `<root>/<owner>/<encoded name>.img`, with what is known of each beside it. Whatever is not finished lies
// in `<encoded name>.img.tmp/`, and is removed when the store is next opened.

import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  unlinkSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { errors } from '../errors.ts';
import { type DiskFacts, readFacts, writeFacts } from './facts.ts';
import { isMissing, syncFolder } from './files.ts';
import { checkOwner, decodeName, encodeName } from './names.ts';

const IMAGE = '.img';
const BUILDING = '.img.tmp';
const FACTS = '.json';
const FACTS_BUILDING = '.json.new';
const SECTOR = 512;

/** All files of one disk. Absolute paths. */
export interface DiskPlace {
  readonly owner: string;
  readonly vm: string;
  /** Of all disks of the owner. */
  readonly folder: string;
  readonly image: string;
  readonly facts: string;
  /** A folder for what is not finished. */
  readonly building: string;
}

export interface StoredDisk {
  readonly place: DiskPlace;
  readonly bytes: number;
  readonly allocatedBytes: number;
  readonly facts: DiskFacts;
}

export class DiskStore {
  readonly root: string;

  /** Makes the folder, and removes what a runtime that was killed has left. @throws CROSTINI_ERR_DISK_STORE */
  constructor(root: string) {
    this.root = root;
    ownFolder(root);
    for (const { name } of readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory()))
      if (/^[0-9a-fA-F]{1,64}$/.test(name)) sweep(join(root, name));
  }

  /** Makes nothing. @throws CROSTINI_ERR_DISK_OWNER, CROSTINI_ERR_VM_NAME */
  place(owner: string, vm: string): DiskPlace {
    const folder = join(this.root, checkOwner(owner));
    const path = join(folder, encodeName(vm));
    return { owner, vm, folder, image: path + IMAGE, facts: path + FACTS, building: path + BUILDING };
  }

  /** @throws CROSTINI_ERR_DISK_STORE when something else lies there */
  find(place: DiskPlace): StoredDisk | undefined {
    const stats = statsOf(place.image);
    if (stats === undefined) return undefined;
    if (!stats.isFile())
      throw errors.CROSTINI_ERR_DISK_STORE({ details: { folder: place.folder, why: `${place.image} is no file` } });
    const { size, blocks } = stats;
    return { place, bytes: size, allocatedBytes: blocks * SECTOR, facts: readFacts(place.facts) };
  }

  /** By name. */
  list(owner: string): readonly StoredDisk[] {
    const folder = join(this.root, checkOwner(owner));
    if (statsOf(folder)?.isDirectory() !== true) return [];
    return readdirSync(folder)
      .flatMap((name) => (name.endsWith(IMAGE) ? (decodeName(basename(name, IMAGE)) ?? []) : []))
      .sort()
      .flatMap((vm) => {
        const place = this.place(owner, vm);
        return statsOf(place.image)?.isFile() === true ? (this.find(place) ?? []) : [];
      });
  }

  /** A path for a disk that is being made. discard() or keep() it. */
  build(place: DiskPlace): string {
    ownFolder(place.folder);
    rmSync(place.building, { recursive: true, force: true });
    mkdirSync(place.building, { mode: 0o700 });
    return join(place.building, 'disk');
  }

  discard({ building }: DiskPlace): void {
    rmSync(building, { recursive: true, force: true });
  }

  /** What was built, and is on stable storage, becomes the disk. */
  keep(place: DiskPlace, facts: DiskFacts): void {
    // Facts without an image are swept; an image without facts would have lost them.
    writeFacts(place.facts, facts);
    renameSync(join(place.building, 'disk'), place.image);
    syncFolder(place.folder);
    this.discard(place);
  }

  remove(place: DiskPlace): void {
    unlinkSync(place.image);
    rmSync(place.facts, { force: true });
    syncFolder(place.folder);
  }

  /** Bytes that this user could still write. */
  free(): number {
    const { bavail, bsize } = statfsSync(this.root);
    return bavail * bsize;
  }
}

function statsOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (e) {
    if (isMissing(e)) return undefined;
    throw e;
  }
}

/** Makes it, or takes one that is this user's own; a link could lead anywhere. @throws CROSTINI_ERR_DISK_STORE */
function ownFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const stats = lstatSync(path);
  const why = !stats.isDirectory()
    ? 'it is not a folder'
    : stats.uid !== process.getuid?.()
      ? 'it belongs to somebody else'
      : undefined;
  if (why !== undefined) throw errors.CROSTINI_ERR_DISK_STORE({ details: { folder: path, why } });
  if ((stats.mode & 0o777) !== 0o700) chmodSync(path, 0o700);
}

function sweep(folder: string): void {
  const names = new Set(readdirSync(folder));
  for (const name of names) {
    const isUnfinished = name.endsWith(BUILDING) || name.endsWith(FACTS_BUILDING);
    const isAlone = name.endsWith(FACTS) && !names.has(basename(name, FACTS) + IMAGE);
    if (isUnfinished || isAlone) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
