// Where concierge would be on a bus, for a runtime that does not stay and so has not asked for the name.

import { readFileSync } from 'node:fs';
import type { CheckResult } from '@runtime/sdk';
import { type Bus, type BusName, busAddress, connectBus, DBUS_ERRORS, isRemoteError } from '@runtime/sdk/dbus';
import type { DbusMode } from './index.ts';
import { SERVICE } from './methods.ts';

const CONNECT_MS = 3_000;

export const NO_SESSION_BUS = 'this session has no bus';

/** Never fails. */
export async function checkBus(mode: DbusMode): Promise<CheckResult> {
  if (mode === 'off') return { status: 'ok', found: 'no D-Bus: it is switched off (crostini.dbus)' };
  if (mode === 'auto' && busAddress('session') === undefined)
    return { status: 'ok', found: `no D-Bus: ${NO_SESSION_BUS}` };
  const name: BusName = mode === 'auto' ? 'session' : mode;
  try {
    await using bus = await connectBus({ bus: name, timeoutMs: CONNECT_MS });
    const owner = await ownerOf(bus);
    if (owner === undefined) return { status: 'ok', found: `${SERVICE} is free at ${bus.address}` };
    return {
      status: 'warn',
      found: `${SERVICE} belongs to ${owner} at ${bus.address}`,
      remedy: `End it, wait until it ends (a runtime takes the name then), or switch ours off: crostini.dbus off`,
    };
  } catch (e) {
    return {
      status: 'warn',
      found: e instanceof Error ? e.message : String(e),
      remedy: 'Start a bus, or switch this off: crostini.dbus off',
    };
  }
}

/** `pid 4711 (node)` */
async function ownerOf(bus: Bus): Promise<string | undefined> {
  try {
    const { pid } = await bus.credentialsOf(SERVICE);
    return pid === undefined ? 'another program' : `pid ${pid} (${commandOf(pid)})`;
  } catch (e) {
    if (isRemoteError(e, DBUS_ERRORS.nameHasNoOwner)) return undefined;
    throw e;
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'of another namespace';
  }
}
