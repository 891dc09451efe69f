// Snapshots in the cache of the user: a folder for each, by what it is of. It is there whole or not at all.

import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { VmSnapshot } from '@runtime/plugin-vmm/contract';
import { temporaryBeside } from '@runtime/sdk/image';
import { z } from 'zod';

const MANIFEST = 'snapshot.json';
const STATE = 'state';
const TEMPORARY = /^\.tmp-(\d+)-/;
/** What a process that was killed has left is removed after this long, ms. */
const STALE_MS = 3_600_000;

const manifestSchema = z.strictObject({
  version: z.literal(1),
  program: z.string().max(8192),
  shape: z.string().max(65_536),
  slots: z.record(z.string().max(64), z.int().min(2).max(30)),
});

export interface SnapshotStoreOptions {
  readonly folder: string;
  /** The ones that were not used for longest go. */
  readonly max: number;
}

export interface StoredSnapshot {
  readonly key: string;
  /** On the disk. */
  readonly bytes: number;
  /** ms since 1970 */
  readonly usedAt: number;
}

export class SnapshotStore {
  readonly #folder: string;
  readonly #max: number;

  constructor({ folder, max }: SnapshotStoreOptions) {
    this.#folder = folder;
    this.#max = max;
  }

  /** One that cannot be understood is removed. */
  find(key: string): VmSnapshot | undefined {
    const place = this.#place(key);
    const manifest = join(place, MANIFEST);
    if (!existsSync(manifest)) return undefined;
    const found = parseManifest(manifest);
    if (found === undefined) {
      this.remove(key);
      return undefined;
    }
    const now = new Date();
    utimesSync(manifest, now, now);
    return { ...found, path: join(place, STATE) };
  }

  /** @param save writes it into a folder which it makes. @throws what that does; nothing is left then */
  async add(key: string, save: (folder: string) => Promise<VmSnapshot>): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const place = this.#place(key);
    const at = temporaryBeside(place);
    mkdirSync(at, { mode: 0o700 });
    try {
      const { program, shape, slots } = await save(join(at, STATE));
      writeFileSync(join(at, MANIFEST), JSON.stringify({ version: 1, program, shape, slots }), { mode: 0o600 });
      this.remove(key);
      renameSync(at, place);
    } finally {
      rmSync(at, { recursive: true, force: true });
    }
    this.#tidy(key);
  }

  /** Those that are whole, the one that was used last first. */
  list(): readonly StoredSnapshot[] {
    if (!existsSync(this.#folder)) return [];
    return readdirSync(this.#folder)
      .filter((key) => !TEMPORARY.test(key))
      .flatMap((key) => {
        const manifest = statSync(join(this.#place(key), MANIFEST), { throwIfNoEntry: false });
        return manifest === undefined ? [] : [{ key, usedAt: manifest.mtimeMs, bytes: bytesBelow(this.#place(key)) }];
      })
      .toSorted((a, b) => b.usedAt - a.usedAt);
  }

  remove(key: string): void {
    rmSync(this.#place(key), { recursive: true, force: true });
  }

  #place(key: string): string {
    return join(this.#folder, key);
  }

  #tidy(kept: string): void {
    const names = readdirSync(this.#folder);
    for (const name of names) {
      const madeAt = Number(TEMPORARY.exec(name)?.[1] ?? Number.POSITIVE_INFINITY);
      if (madeAt < Date.now() - STALE_MS) rmSync(join(this.#folder, name), { recursive: true, force: true });
    }
    const usedAt = (name: string): number =>
      statSync(join(this.#folder, name, MANIFEST), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const others = names.filter((name) => !TEMPORARY.test(name) && name !== kept);
    const newestFirst = others.map((name) => ({ name, at: usedAt(name) })).toSorted((a, b) => b.at - a.at);
    for (const { name } of newestFirst.slice(this.#max - 1)) this.remove(name);
  }
}

function bytesBelow(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true });
  return files.reduce((sum, { parentPath, name }) => sum + lstatSync(join(parentPath, name)).blocks * 512, 0);
}

function parseManifest(path: string): Omit<VmSnapshot, 'path'> | undefined {
  try {
    const { program, shape, slots } = manifestSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    return { program, shape, slots };
  } catch {
    return undefined;
  }
}
