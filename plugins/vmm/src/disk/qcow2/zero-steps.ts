// Zeroes and discards: mostly a matter of entries. What an entry referred to is given back once its change is on stable
// storage (sync-cycle.ts).

import { readsAsZeroes } from '../layers.ts';
import type { Engine } from './engine.ts';
import { CORRUPT, UNALLOCATED, ZERO } from './mapping-tables.ts';
import { EIO } from './operations.ts';
import { Kind, Phase, type Request } from './request.ts';
import { beginCopy, isWhole } from './write-steps.ts';

const EOPNOTSUPP = 95;
const ENOSYS = 38;
/** Steps in a row before others get their turn. */
const MAX_STEPS = 64;

/** What the host's file system can do; found out on the way. */
export class ZeroMeans {
  zeroRange = true;
  punch = true;
}

export function stepZeroes(engine: Engine, means: ZeroMeans, request: Request): void {
  const { clusterSize, tables } = engine;
  for (let step = 0; step < MAX_STEPS; step += 1) {
    if (request.left === 0) {
      engine.end(request, 0);
      return;
    }
    const cluster = Math.floor(request.offset / clusterSize);
    const within = request.offset - cluster * clusterSize;
    if (engine.blocked(request, cluster)) return;
    const value = tables.entry(cluster);
    if (value === CORRUPT) {
      engine.end(request, -EIO);
      return;
    }
    const bytes = Math.min(request.left, clusterSize - within);
    const whole = isWhole(engine, request.offset, request.left);
    if (value === ZERO || (value <= 0 && !whole && engine.isFresh(cluster, value))) skip(request, bytes);
    else if (value > 0 && (!whole || !request.mayUnmap || !canUnmap(engine))) {
      zeroInPlace(engine, means, request, value + within, whole ? inPlaceRun(engine, request, cluster, value) : bytes);
      return;
    } else if (whole && canUnmap(engine)) {
      if (!unmapRun(engine, request, cluster)) return;
    } else if (engine.isFresh(cluster, value)) skip(request, bytes);
    else {
      if (engine.reserve(request, cluster)) beginCopy(engine, request, cluster, bytes);
      return;
    }
  }
  engine.operations.pause(request);
}

export function stepDiscard(engine: Engine, request: Request): void {
  const { clusterSize, tables } = engine;
  for (let step = 0; step < MAX_STEPS; step += 1) {
    // Parts of clusters are left alone.
    const within = request.offset % clusterSize;
    if (within !== 0) skip(request, Math.min(request.left, clusterSize - within));
    if (request.left === 0 || !isWhole(engine, request.offset, request.left)) {
      engine.end(request, 0);
      return;
    }
    const cluster = Math.floor(request.offset / clusterSize);
    if (!tables.hasTable(cluster)) {
      skip(request, Math.min(request.left, (tables.tableEnd(cluster) - cluster) * clusterSize));
      continue;
    }
    if (engine.blocked(request, cluster)) return;
    if (!unmapRun(engine, request, cluster)) return;
  }
  engine.operations.pause(request);
}

/** The fallocate of a request is done. */
export function zeroed(engine: Engine, means: ZeroMeans, request: Request): void {
  const { result } = request;
  if (request.phase === Phase.pause) {
    request.phase = Phase.none;
    engine.runnable.push(request);
    return;
  }
  if (result === 0) {
    engine.advance(request);
    return;
  }
  if (result === -EOPNOTSUPP || result === -ENOSYS) {
    if (means.zeroRange) means.zeroRange = false;
    else means.punch = false;
  } else if (result !== -4 && result !== -11) {
    engine.end(request, result);
    return;
  }
  engine.runnable.push(request);
}

/** Version 2 has no entry for zeroes, and without one the backing file would show through. */
function canUnmap(engine: Engine): boolean {
  return engine.image.header.version === 3 || engine.layers.length === 1;
}

/** Entries that say nothing or zeroes, for the clusters up to the end of the slice. @returns false: the request waits */
function unmapRun(engine: Engine, request: Request, cluster: number): boolean {
  const { clusterSize, tables } = engine;
  if (!canUnmap(engine)) {
    skip(request, Math.min(request.left, clusterSize));
    return true;
  }
  const end = tables.sliceEnd(cluster);
  const zero = engine.layers.length > 1;
  const runs: number[] = [];
  let at = cluster;
  let from = -1;
  let left = request.left;
  // Clusters from `from` get their new entries in one write.
  const write = (): void => {
    if (from < 0) return;
    // Until they are given back nothing refers to the clusters.
    engine.image.markDirty();
    tables.unlink(from, at - from, zero);
    engine.dropAll(runs.splice(0));
    from = -1;
  };
  while (at < end && isWhole(engine, at * clusterSize, left) && !engine.pending.has(at)) {
    const value = tables.entry(at);
    const keeps = request.kind === Kind.zeroes && !request.mayUnmap && value > 0;
    if (value === CORRUPT || keeps) break;
    if (changes(engine, request, at, value)) {
      if (!tables.hasTable(at)) {
        if (!engine.reserve(request, at)) return false;
      }
      if (from < 0) from = at;
      engine.leaving(at, value, runs);
      engine.image.decompressor.forget(at);
    } else write();
    left -= Math.min(left, clusterSize);
    at += 1;
  }
  write();
  const done = request.left - left;
  if (done === 0 && tables.entry(cluster) === CORRUPT) {
    engine.end(request, request.kind === Kind.zeroes ? -EIO : 0);
    return false;
  }
  skip(request, done);
  return true;
}

/** Whether the entry is another one afterwards. */
function changes(engine: Engine, request: Request, cluster: number, value: number): boolean {
  if (value === ZERO) return false;
  if (value !== UNALLOCATED) return true;
  if (engine.layers.length === 1 || request.kind === Kind.discard) return false;
  const { clusterSize, layers, extent } = engine;
  return !readsAsZeroes(layers, 1, cluster * clusterSize, clusterSize, extent);
}

function inPlaceRun(engine: Engine, request: Request, cluster: number, value: number): number {
  const { clusterSize, tables } = engine;
  let length = clusterSize;
  for (let next = 1; length < request.left && tables.entry(cluster + next) === value + next * clusterSize; next += 1)
    length += clusterSize;
  return Math.min(length, request.left);
}

function zeroInPlace(engine: Engine, means: ZeroMeans, request: Request, host: number, length: number): void {
  if (means.zeroRange || means.punch) {
    engine.operations.zeroRange(request, !means.zeroRange, host, length);
    return;
  }
  // A buffer of zeroes, cluster by cluster.
  const { buffers, clusterSize } = engine;
  const bytes = Math.min(length, clusterSize);
  if (!engine.takeSlot(request)) return;
  buffers.bytes(request.slot).fill(0, 0, bytes);
  request.length = bytes;
  const address = buffers.address(request.slot);
  engine.operations.transferOwn(request, Phase.inPlace, engine.image.file.fd, host, address, bytes);
}

function skip(request: Request, bytes: number): void {
  request.offset += bytes;
  request.left -= bytes;
}
