// The time of a guest, which the host tells: there is no clock that survives a snapshot.

import { existsSync, realpathSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { GrpcStatus } from '@runtime/sdk/errors';
import { MOUNT } from '@runtime/sdk/linux';
import { RpcError } from '../../../src/rpc/frame.ts';
import { failed, invalid } from './refusal.ts';
import type { System } from './system.ts';

const ZONES = '/usr/share/zoneinfo';
const NANOSECONDS = 1_000_000_000;
/** The kernel counts nanoseconds in 63 bits. */
const SECONDS_MAX = 9_223_372_035n;
const ZONE_NAME = /^[A-Za-z0-9_+-]+(?:\/[A-Za-z0-9_+-]+){0,3}$/;

export interface Timestamp {
  readonly seconds: bigint;
  readonly nanos: number;
}

/** @throws RpcError */
export function setTime(system: System, time: Timestamp | undefined): void {
  if (time === undefined || time.seconds <= 0n || time.seconds > SECONDS_MAX)
    throw invalid('there is no time, or it is before 1970 or beyond what there is');
  if (time.nanos < 0 || time.nanos >= NANOSECONDS) throw invalid(`${time.nanos} ns are no part of a second`);
  try {
    system.setClock(time.seconds, time.nanos);
  } catch (e) {
    throw failed('the clock cannot be set', e);
  }
}

/** By a link, or where /etc cannot be written to by a mount. @throws RpcError */
export function setTimezone(system: System, name: string, useBindMount: boolean): void {
  const zone = `${ZONES}/${name}`;
  if (!ZONE_NAME.test(name) || !isZone(system, zone))
    throw new RpcError(GrpcStatus.internal, `there is no time zone ${JSON.stringify(name.slice(0, 100))}`);
  const target = `${system.root}/etc/localtime`;
  try {
    if (useBindMount) {
      system.mount({ source: system.root + zone, target: realpathSync(target), flags: MOUNT.bind });
      return;
    }
    rmSync(`${target}.new`, { force: true });
    symlinkSync(zone, `${target}.new`);
    renameSync(`${target}.new`, target);
  } catch (e) {
    throw failed('the time zone cannot be set', e);
  }
}

function isZone(system: System, zone: string): boolean {
  const file = system.root + zone;
  return existsSync(file) && statSync(file).isFile();
}
