// What an earlier runtime left: children that were to outlive it are taken over, the others are ended.

import { setTimeout as pause } from 'node:timers/promises';
import { AdoptedProcess } from './adopted.ts';
import { Child } from './child.ts';
import { members, signalProcess } from './descendants.ts';
import { bootId, isAlive, type ProcessIdentity } from './identity.ts';
import type { ProcessRecord } from './records.ts';
import type { ProcessWorld } from './world.ts';

/** Milliseconds for an orphan to end after SIGKILL. */
const KILL_MS = 2000;
const LOOK_MS = 10;

/** The children that live on, ready to be claimed. */
export async function recoverChildren(world: ProcessWorld): Promise<readonly Child[]> {
  const records = await world.records.all();
  const recovered = await Promise.all(records.map((record) => recoverOne(world, record)));
  return recovered.filter((child) => child !== undefined);
}

async function recoverOne(world: ProcessWorld, record: ProcessRecord): Promise<Child | undefined> {
  const { plugin, key, runtime, cookie, process: identity } = record;
  // Two runtimes on one state directory: its children are its own as long as it lives.
  if (runtime !== undefined && isAlive(runtime)) return undefined;
  if (identity.boot === bootId()) {
    const child = record.detached && record.ready ? adopt(world, record) : undefined;
    if (child !== undefined) {
      await child.recordAdoption();
      return child;
    }
    if (isAlive(identity)) {
      world.log.warn(
        { plugin, process: key, pid: identity.pid },
        `${plugin}/${key} was left by a dead runtime; it is ended`,
      );
      await endOrphan(world, identity);
    }
    // It may have ended long ago and its number been used again, so only the cookie counts from here.
    await world.sweeper.sweep({ cookie, leader: identity, until: identity.start });
  }
  await world.records.remove(record);
  return undefined;
}

function adopt(world: ProcessWorld, record: ProcessRecord): Child | undefined {
  const incarnation = AdoptedProcess.adopt(record.process, world.clock, world.native);
  if (incarnation === undefined) return undefined;
  const { plugin, key, kind, data, cookie, log: logFile } = record;
  return new Child(world, plugin, { key, kind, detached: true, data }, { incarnation, cookie, logFile });
}

/** With its group: while the leader lives, the number of the group is its own. */
async function endOrphan(world: ProcessWorld, identity: ProcessIdentity): Promise<void> {
  const group = await members(identity);
  for (const target of [identity, ...group]) signalProcess(target, 'SIGKILL', world.native);
  const until = performance.now() + KILL_MS;
  while (isAlive(identity) && performance.now() < until) await pause(LOOK_MS);
  if (isAlive(identity)) world.log.error({ pid: identity.pid }, 'an orphan does not end, even after SIGKILL');
}
