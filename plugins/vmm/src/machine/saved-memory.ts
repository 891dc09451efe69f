// The memory of a guest in a file, without the pages that are zero, and back from it. Whoever goes on from it gets a
// copy in memory of its own, which the processes of its devices share.

import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { memfdCreate, PAGE_SIZE, seekData, seekHole } from '@runtime/sdk/linux';
import { z } from 'zod';

/** Bytes that are read at once; others have their turn after each. */
const CHUNK = 1024 * 1024;
/** Fewer pages of zeroes than this in a row are written like others. */
const GAP = 16 * PAGE_SIZE;
const ZEROES = Buffer.alloc(PAGE_SIZE);

/** Files in the folder of a snapshot. */
const MEMORY = 'memory';
const INDEX = 'memory.json';

const bytes = z
  .int()
  .min(0)
  .max(2 ** 50);
const indexSchema = z.strictObject({
  version: z.literal(1),
  /** Of the memory. */
  size: bytes,
  /** What the file holds, one after the other: where it belongs, and its length. */
  runs: z.array(z.tuple([bytes, bytes])).max(2 ** 22),
  crc: z.int().min(0),
});
type Index = z.infer<typeof indexSchema>;

/** @param fd of the memory of a machine that is paused */
export async function saveMemory(fd: number, folder: string): Promise<void> {
  const { size } = fstatSync(fd);
  const out = openSync(join(folder, MEMORY), 'wx', 0o600);
  const runs: [number, number][] = [];
  let crc = 0;
  try {
    const chunk = Buffer.alloc(CHUNK);
    for (const [from, length] of chunksOf(fd, size)) {
      readWhole(fd, chunk.subarray(0, length), from);
      for (const [at, end] of runsIn(chunk.subarray(0, length))) {
        const run = chunk.subarray(at, end);
        crc = crc32(run, crc);
        writeWhole(out, run, null);
        const last = runs.at(-1);
        if (last !== undefined && last[0] + last[1] === from + at) last[1] += run.length;
        else runs.push([from + at, run.length]);
      }
      await setImmediate();
    }
  } finally {
    closeSync(out);
  }
  const index: Index = { version: 1, size, runs, crc };
  writeFileSync(join(folder, INDEX), JSON.stringify(index), { mode: 0o600, flag: 'wx' });
}

export interface SavedMemory {
  /** Of memory of that size, the caller's; empty until `fill` has resolved. */
  readonly fd: number;
  /** @throws when what was written is damaged */
  readonly fill: () => Promise<void>;
}

/** @param size that is expected, bytes. @throws when there is none of that size */
export function openSavedMemory(folder: string, size: number): SavedMemory {
  const index = readIndex(folder);
  if (index.size !== size) throw new Error(`it has ${index.size} bytes of memory, and not ${size}`);
  const fd = memfdCreate('guest-memory', { size, seals: ['shrink', 'grow', 'seal'] });
  return { fd, fill: () => fill(fd, folder, index) };
}

async function fill(fd: number, folder: string, { runs, crc }: Index): Promise<void> {
  const from = openSync(join(folder, MEMORY), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const length = runs.reduce((sum, [, one]) => sum + one, 0);
    if (fstatSync(from).size !== length) throw new Error(`its memory has ${fstatSync(from).size} bytes, not ${length}`);
    const chunk = Buffer.alloc(CHUNK);
    let found = 0;
    let place = 0;
    for (const [offset, runLength] of runs) {
      for (let done = 0; done < runLength; ) {
        const part = chunk.subarray(0, Math.min(CHUNK, runLength - done));
        readWhole(from, part, place);
        found = crc32(part, found);
        writeWhole(fd, part, offset + done);
        done += part.length;
        // About once for each MiB, in however small runs it comes.
        if (Math.floor(place / CHUNK) !== Math.floor((place + part.length) / CHUNK)) await setImmediate();
        place += part.length;
      }
    }
    if (found !== crc) throw new Error('its memory is damaged');
  } finally {
    closeSync(from);
  }
}

function readIndex(folder: string): Index {
  const index = indexSchema.parse(JSON.parse(readFileSync(join(folder, INDEX), 'utf8')));
  if (index.runs.some(([offset, length]) => offset + length > index.size)) throw new Error('its index is damaged');
  return index;
}

/** Parts of a sparse file that are not holes. */
function* chunksOf(fd: number, size: number): Generator<readonly [from: number, length: number]> {
  for (let at = seekData(fd, 0); at !== undefined && at < size; at = seekData(fd, at)) {
    const end = seekHole(fd, at);
    for (; at < end; at += CHUNK) yield [at, Math.min(CHUNK, end - at)];
    at = end;
    if (at >= size) return;
  }
}

/** Parts of it that are to be written. */
function* runsIn(chunk: Buffer): Generator<readonly [at: number, end: number]> {
  let start: number | undefined;
  let end = 0;
  for (let at = 0; at < chunk.length; at += PAGE_SIZE) {
    const next = Math.min(at + PAGE_SIZE, chunk.length);
    if (chunk.compare(ZEROES, 0, next - at, at, next) === 0) continue;
    if (start !== undefined && at - end >= GAP) {
      yield [start, end];
      start = undefined;
    }
    start ??= at;
    end = next;
  }
  if (start !== undefined) yield [start, end];
}

function readWhole(fd: number, into: Buffer, from: number): void {
  for (let done = 0; done < into.length; ) {
    const count = readSync(fd, into, done, into.length - done, from + done);
    if (count === 0) throw new Error('it ends too early');
    done += count;
  }
}

function writeWhole(fd: number, part: Buffer, at: number | null): void {
  for (let done = 0; done < part.length; ) {
    done += writeSync(fd, part, done, part.length - done, at === null ? null : at + done);
  }
}
