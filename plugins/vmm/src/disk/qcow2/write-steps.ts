// Writing: in place where the image has the cluster for itself, else to new clusters.

import type { Engine } from './engine.ts';
import { CORRUPT } from './mapping-tables.ts';
import { EIO } from './operations.ts';
import { stepCopy } from './read-steps.ts';
import { Kind, Phase, type Request } from './request.ts';

export function stepWrite(engine: Engine, request: Request): void {
  if (request.left === 0) {
    engine.end(request, 0);
    return;
  }
  const { clusterSize, tables } = engine;
  const cluster = Math.floor(request.offset / clusterSize);
  const within = request.offset - cluster * clusterSize;
  if (engine.blocked(request, cluster)) return;
  const value = tables.entry(cluster);
  if (value > 0) {
    let length = clusterSize - within;
    for (let next = 1; length < request.left && tables.entry(cluster + next) === value + next * clusterSize; next += 1)
      length += clusterSize;
    const fd = engine.image.file.fd;
    engine.operations.transfer(request, Phase.inPlace, fd, value + within, Math.min(length, request.left));
    return;
  }
  if (value === CORRUPT) {
    engine.end(request, -EIO);
    return;
  }
  if (!engine.reserve(request, cluster)) return;
  const fresh = engine.isFresh(cluster, value);
  if (fresh || isWhole(engine, request.offset, request.left)) writeNew(engine, request, cluster, within, fresh);
  else beginCopy(engine, request, cluster, Math.min(request.left, clusterSize - within));
}

/** Whether the next cluster of a range is covered, up to its end or the disk's. */
export function isWhole(engine: Engine, offset: number, left: number): boolean {
  const { clusterSize, limit } = engine;
  return offset % clusterSize === 0 && (left >= clusterSize || offset + left >= limit);
}

/** Straight from guest memory to new clusters, as many as are alike. */
function writeNew(engine: Engine, request: Request, cluster: number, within: number, fresh: boolean): void {
  const { clusterSize, tables } = engine;
  const limit = Math.min(engine.allocatable, tables.sliceEnd(cluster) - cluster);
  let count = 1;
  let reach = clusterSize - within;
  while (reach < request.left && count < limit) {
    const next = cluster + count;
    if (engine.pending.has(next)) break;
    const value = tables.entry(next);
    if (value > 0 || value === CORRUPT || engine.isFresh(next, value) !== fresh) break;
    if (!fresh && !isWhole(engine, request.offset + reach, request.left - reach)) break;
    count += 1;
    reach += clusterSize;
  }
  engine.allocate(request, cluster, count);
  const host = request.target * clusterSize + within;
  const phase = fresh ? Phase.fresh : Phase.replace;
  engine.operations.transfer(request, phase, engine.image.file.fd, host, Math.min(reach, request.left));
}

/** Part of a cluster that holds something: what it holds is copied, changed, and written elsewhere. */
export function beginCopy(engine: Engine, request: Request, cluster: number, length: number): void {
  if (!engine.takeSlot(request)) return;
  engine.allocate(request, cluster, 1);
  request.length = length;
  request.copyOffset = cluster * engine.clusterSize;
  request.copyLeft = engine.clusterSize;
  continueCopy(engine, request);
}

export function continueCopy(engine: Engine, request: Request): void {
  const { clusterSize, buffers } = engine;
  if (!stepCopy(engine, request)) return;
  const within = request.offset - request.cluster * clusterSize;
  if (request.kind === Kind.write) engine.operations.copyIn(request, request.length, within);
  else buffers.bytes(request.slot).fill(0, within, within + request.length);
  const host = request.target * clusterSize;
  const address = buffers.address(request.slot);
  engine.operations.transferOwn(request, Phase.copyIn, engine.image.file.fd, host, address, clusterSize);
}

/** The operation of a request that writes is done. */
export function wrote(engine: Engine, request: Request): void {
  switch (request.phase) {
    case Phase.fresh:
      engine.link(request);
      return;
    case Phase.copyOut:
      continueCopy(engine, request);
      return;
    case Phase.replace:
    case Phase.copyIn:
      engine.giveBackSlot(request);
      request.phase = Phase.commit;
      engine.cycle.commits.push(request);
      engine.cycle.want();
      return;
    default:
      engine.advance(request);
  }
}
