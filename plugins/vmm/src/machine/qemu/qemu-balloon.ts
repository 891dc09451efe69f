// The balloon of a machine: how much memory the guest is to give back, and what it says that it has. qapi/machine.json
// (balloon, query-balloon) and docs/interop/virtio-balloon-stats.rst of QEMU.

import type { BalloonRequest, BalloonState } from '../../contract.ts';
import { errors } from '../../errors.ts';
import type { QmpClient } from './qmp.ts';

const MIB = 2 ** 20;
/** What QEMU has for what the guest does not tell, less what a number cannot tell apart. */
const UNKNOWN = 2 ** 63;

/** @throws VMM_ERR_QMP; VMM_ERR_BALLOON when there is none */
export async function askBalloon(
  qmp: Pick<QmpClient, 'execute'>,
  { vm, id }: { readonly vm: string; readonly id: string | undefined },
  { targetMib, statsSeconds }: BalloonRequest,
): Promise<BalloonState> {
  if (id === undefined) throw errors.VMM_ERR_BALLOON({ details: { vm } });
  const path = `/machine/peripheral/${id}`;
  if (statsSeconds !== undefined) {
    await qmp.execute('qom-set', { path, property: 'guest-stats-polling-interval', value: statsSeconds });
  }
  if (targetMib !== undefined) await qmp.execute('balloon', { value: targetMib * MIB });
  const { actual } = (await qmp.execute('query-balloon')) as { readonly actual?: unknown };
  const told = await qmp.execute('qom-get', { path, property: 'guest-stats' });
  const actualMib = Math.round(bytesOf(actual) / MIB);
  const guest = guestOf(told);
  return guest === undefined ? { actualMib } : { actualMib, guest };
}

/** `undefined` when the guest has told nothing yet, or nothing of use. */
function guestOf(told: unknown): BalloonState['guest'] {
  const { 'last-update': at, stats } = (told ?? {}) as { readonly 'last-update'?: unknown; readonly stats?: unknown };
  if (typeof at !== 'number' || at <= 0 || typeof stats !== 'object' || stats === null) return undefined;
  const of = (name: string): number | undefined => {
    const value = (stats as Readonly<Record<string, unknown>>)[`stat-${name}`];
    return typeof value === 'number' && value >= 0 && value < UNKNOWN ? value : undefined;
  };
  const [total, available, free] = [of('total-memory'), of('available-memory'), of('free-memory')];
  if (total === undefined || available === undefined) return undefined;
  return {
    at,
    totalMib: Math.round(total / MIB),
    availableMib: Math.round(available / MIB),
    freeMib: Math.round((free ?? 0) / MIB),
    swappedIn: of('swap-in') ?? 0,
    majorFaults: of('major-faults') ?? 0,
  };
}

function bytesOf(value: unknown): number {
  return typeof value === 'number' && value >= 0 ? value : 0;
}
