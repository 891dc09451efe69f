// What is left of an image when the process is killed, or the power fails, at any moment. All that a run does to the file
// is recorded; then the file is made as it could be after each cut. A killed process leaves what it has written. A power
// failure leaves of each sector what was synced, or anything written to it since. RUNTIME_FUZZ_CASES sets how many runs
// are recorded (default 2), RUNTIME_FUZZ_SEED with which it begins.

import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openChain } from '../chain.ts';
import { imageFile } from '../image-file.ts';
import { type DiskRequest, DiskRig, type FileEvent, qemuImg, Random, Recorder, SECTOR } from '../test-rig.ts';
import { checkImage } from './check.ts';
import { createQcow2 } from './create.ts';
import { readHeader } from './header.ts';

const CASES = Number(process.env.RUNTIME_FUZZ_CASES ?? 2);
const SEED = Number(process.env.RUNTIME_FUZZ_SEED ?? 1);

const folder = mkdtempSync(join(tmpdir(), 'qcow2-crash-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** One content that a sector was given: what is in it all through, and between which events. */
interface Version {
  readonly stamp: number;
  readonly began: number;
  ended: number;
}

const HOLE = Buffer.alloc(65_536);
const NEVER = Number.POSITIVE_INFINITY;

interface Run {
  readonly image: string;
  /** The file before. */
  readonly before: Buffer;
  readonly events: readonly FileEvent[];
  /** For each sector what it was given, in order. */
  readonly versions: readonly Version[][];
  /** Flushes: when they began and ended, as numbers of events. */
  readonly flushes: readonly { readonly began: number; readonly ended: number }[];
}

const stampOf = (bytes: Uint8Array, sector: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(sector * SECTOR, true);

/** Plays requests on an image that is laid over another, or not, and records. */
async function record(seed: number): Promise<Run> {
  const random = new Random(seed);
  const clusterSize = random.pick([512, 4096, 65_536]);
  const perCluster = clusterSize / SECTOR;
  const sectors = perCluster * (8 + random.below(32)) + random.below(perCluster);
  const size = sectors * SECTOR;
  const image = join(folder, `${seed}.qcow2`);
  const first = stamps(sectors, () => 0);
  const fd = openSync(image, 'w+');
  const lying = random.chance(0.6);
  if (lying) {
    first.forEach((_, sector) => {
      if (random.chance(0.5)) first[sector] = 1_000_000 + sector;
    });
    writeFileSync(join(folder, `${seed}.raw`), filled(first));
    const backing = { file: `${seed}.raw`, format: 'raw' };
    createQcow2(imageFile(fd, image), { size, clusterSize, backing });
  } else createQcow2(imageFile(fd, image), { size, clusterSize });
  closeSync(fd);

  const before = readFileSync(image);
  const versions = Array.from(first, (stamp): Version[] => [{ stamp, began: -1, ended: -1 }]);
  const flushes: { began: number; ended: number }[] = [];
  using chain = openChain(image, { format: 'qcow2', readonly: false });
  const recorder = new Recorder(chain.entries[0]?.fd as number);
  using rig = new DiskRig(chain.entries, random, { recorder });
  let stamp = 1;
  const busy = new Set<DiskRequest>();
  const turns = 100;
  for (let turn = 0; turn < turns; turn += 1) {
    while (rig.full || (rig.busy > 0 && random.chance(0.5))) rig.step();
    if (random.chance(0.04)) {
      rig.drain();
      rig.store.settle();
    }
    if (random.chance(0.02)) {
      // The versions of what comes after the old end are not looked at; that the rest is untouched is.
      const done = rig.store.resize(rig.store.capacity + SECTOR * random.below(100_000));
      rig.drain();
      await done;
    }
    // Whole clusters as often as parts of them.
    const unit = random.chance(0.5) ? perCluster : 1;
    const from = random.below(Math.ceil(sectors / unit)) * unit;
    const count = Math.min(sectors - from, 512, unit * (1 + random.below(random.pick([1, 4, 12]))));
    const offset = from * SECTOR;
    const length = count * SECTOR;
    if ([...busy].some((other) => other.offset < offset + length && offset < other.offset + other.length)) continue;
    const began = recorder.events.length;
    const dice = random.below(20);
    if (dice === 0) {
      rig.submit({ kind: 'flush', offset: 0, length: 0 }, (result) => {
        expect(result).toBe(0);
        flushes.push({ began, ended: recorder.events.length });
      });
      continue;
    }
    stamp += 1;
    const given = dice < 13 ? stamp : 0;
    const request: DiskRequest =
      dice < 13
        ? { kind: 'write', offset, length, data: filled(stamps(count, () => stamp)) }
        : dice < 17
          ? { kind: 'zeroes', offset, length, mayUnmap: dice < 16 }
          : { kind: 'discard', offset, length };
    const added: Version[] = [];
    for (let sector = from; sector < from + count; sector += 1) {
      const version = { stamp: given, began, ended: NEVER };
      versions[sector]?.push(version);
      added.push(version);
    }
    busy.add(request);
    rig.submit(request, (result) => {
      expect(result).toBe(0);
      busy.delete(request);
      // What a discard leaves is the old or the new: it never ends.
      if (request.kind !== 'discard') for (const version of added) version.ended = recorder.events.length;
    });
  }
  rig.drain();
  if (random.chance(0.5)) rig.store.settle();
  return { image, before, events: recorder.events, versions, flushes };
}

function stamps(count: number, of: (sector: number) => number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, sector) => of(sector));
}

function filled(from: Uint32Array): Uint8Array {
  const bytes = new Uint32Array((from.length * SECTOR) / 4);
  from.forEach((stamp, sector) => {
    bytes.fill(stamp, (sector * SECTOR) / 4, ((sector + 1) * SECTOR) / 4);
  });
  return new Uint8Array(bytes.buffer);
}

/** The file while what was done to it is applied, event by event. */
class File {
  bytes: Buffer;
  size: number;

  constructor(before: Buffer, events: readonly FileEvent[]) {
    this.size = before.length;
    this.bytes = Buffer.alloc(
      events.reduce((most, event) => (event.kind === 'size' ? Math.max(most, event.size) : most), before.length),
    );
    before.copy(this.bytes);
  }

  apply(event: FileEvent, sectors?: (sector: number) => boolean): void {
    if (event.kind === 'size') {
      if (event.size < this.size) this.bytes.fill(0, event.size, this.size);
      this.size = event.size;
      return;
    }
    if (event.kind !== 'write' && event.kind !== 'zero') return;
    const length = event.kind === 'write' ? event.bytes.length : event.length;
    for (let at = 0; at < length; ) {
      const position = event.offset + at;
      const end = Math.min(length, at + SECTOR - (position % SECTOR));
      if (sectors === undefined || sectors(Math.floor(position / SECTOR))) {
        if (event.kind === 'write') this.bytes.set(event.bytes.subarray(at, end), position);
        else this.bytes.fill(0, position, event.offset + end);
        if (event.kind === 'write') this.size = Math.max(this.size, event.offset + end);
      }
      at = end;
    }
  }

  save(path: string): void {
    const fd = openSync(path, 'w');
    // Holes stay holes, which is quicker.
    for (let at = 0; at < this.size; at += 65_536) {
      const piece = this.bytes.subarray(at, Math.min(this.size, at + 65_536));
      if (!piece.equals(HOLE.subarray(0, piece.length))) writeSync(fd, piece, 0, piece.length, at);
    }
    ftruncateSync(fd, this.size);
    closeSync(fd);
  }
}

/** What an image as it was left must hold: of each sector the last durable version, or one that came later. */
function examine(run: Run, path: string, cut: number, isDurable: (version: Version) => boolean, qemu: boolean): void {
  const where = `cut before event ${cut} of ${run.events.length}`;
  {
    using chain = openChain(path, { format: 'qcow2', readonly: true, lock: false });
    const file = imageFile(chain.entries[0]?.fd as number, path);
    expect(checkImage(file, readHeader(file)).corruptions, where).toBe(0);
    using rig = new DiskRig(chain.entries, new Random(1), { readonly: true });
    const bytes = rig.readAll(run.versions.length * SECTOR);
    run.versions.forEach((versions, sector) => {
      let least = 0;
      versions.forEach((version, index) => {
        if (isDurable(version)) least = index;
      });
      const possible = versions.filter((version, index) => index === least || (index > least && version.began < cut));
      const found = stampOf(bytes, sector);
      if (!possible.some((version) => version.stamp === found))
        expect.fail(`${where}: sector ${sector} holds ${found}, not one of ${possible.map((one) => one.stamp)}`);
    });
  }
  if (!qemu) return;
  expect(qemuCheck(path), where).toMatchObject({ corruptions: 0 });
  // Opened for writing it is put in order, and closed it has nothing left over.
  {
    using chain = openChain(path, { format: 'qcow2', readonly: false });
    using rig = new DiskRig(chain.entries, new Random(1));
    rig.submit({ kind: 'write', offset: 0, length: SECTOR, data: new Uint8Array(SECTOR) }, () => {});
    rig.drain();
    rig.store.settle();
  }
  expect(qemuCheck(path), where).toMatchObject({ corruptions: 0, leaks: 0 });
}

function qemuCheck(path: string): { readonly corruptions: number; readonly leaks: number } {
  let out: string;
  try {
    out = qemuImg('check', '--output=json', '-f', 'qcow2', path);
  } catch (e) {
    out = (e as { readonly stdout: string }).stdout;
  }
  const { corruptions = 0, leaks = 0 } = JSON.parse(out) as { corruptions?: number; leaks?: number };
  return { corruptions, leaks };
}

const seeds = Array.from({ length: CASES }, (_, index) => SEED + index);

test.each(seeds)(
  'a killed process leaves all that it told the guest is written (run %i)',
  { timeout: 120_000 },
  async (seed) => {
    const run = await record(seed);
    const file = new File(run.before, run.events);
    const path = `${run.image}.cut`;
    const random = new Random(seed);
    const often = Math.max(1, Math.floor(run.events.length / 50));
    run.events.forEach((event, index) => {
      if (index % often === 0) {
        file.save(path);
        examine(run, path, index, ({ ended }) => ended <= index, random.chance(0.06));
      }
      file.apply(event);
    });
  },
);

test.each(seeds)('a power failure leaves all that was flushed (run %i)', { timeout: 120_000 }, async (seed) => {
  const run = await record(seed);
  const path = `${run.image}.cut`;
  const random = new Random(seed + 77);
  for (let attempt = 0; attempt < 30; attempt += 1) {
    const cut = random.below(run.events.length + 1);
    // Synced is what was done before the last sync that ended began.
    const begins = new Map<number, number>();
    let synced = 0;
    run.events.slice(0, cut).forEach((event, index) => {
      if (event.kind === 'sync-begin') begins.set(event.id, index);
      if (event.kind === 'sync-end') synced = Math.max(synced, begins.get(event.id) as number);
    });
    const file = new File(run.before, run.events);
    for (const event of run.events.slice(0, synced)) file.apply(event);
    // Of each sector what was written to it up to some moment since.
    const until = new Map<number, number>();
    const bias = random.pick([0.1, 0.5, 0.9]);
    run.events.slice(synced, cut).forEach((event, index) => {
      if (event.kind === 'size' && random.chance(0.5)) return;
      file.apply(event, (sector) => {
        let end = until.get(sector);
        if (end === undefined) {
          end = random.chance(bias) ? random.below(cut - synced + 1) : random.chance(0.5) ? 0 : cut;
          until.set(sector, end);
        }
        return index < end;
      });
    });
    file.save(path);
    const flushed = run.flushes
      .filter(({ ended }) => ended <= cut)
      .reduce((last, { began }) => Math.max(last, began), -1);
    examine(run, path, cut, ({ ended }) => ended <= flushed, random.chance(0.15));
  }
});
