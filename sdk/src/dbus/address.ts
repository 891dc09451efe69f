// Where a bus is: https://dbus.freedesktop.org/doc/dbus-specification.html#addresses

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { errors } from '../errors.ts';

const SYSTEM_BUS = 'unix:path=/var/run/dbus/system_bus_socket';

/** `session` or `system`, or an address such as `unix:path=/run/user/1000/bus`. */
export type BusName = 'session' | 'system' | (string & {});

/**
 * The address of a bus; `undefined` when this session has none.
 */
export function busAddress(bus: BusName, env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (bus === 'system') return env.DBUS_SYSTEM_BUS_ADDRESS || SYSTEM_BUS;
  if (bus !== 'session') return bus;
  if (env.DBUS_SESSION_BUS_ADDRESS) return env.DBUS_SESSION_BUS_ADDRESS;
  const socket = join(env.XDG_RUNTIME_DIR || '/nowhere', 'bus');
  return existsSync(socket) ? `unix:path=${socket.replace(/[^-0-9A-Za-z_/.*]/g, escapeByte)}` : undefined;
}

function escapeByte(text: string): string {
  return Array.from(Buffer.from(text), (byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
}

/** The sockets that an address names, to be tried in turn. @throws SDK_ERR_DBUS_ADDRESS */
export function socketsOf(address: string): readonly string[] {
  const sockets: string[] = [];
  const refuse = (why: string) => errors.SDK_ERR_DBUS_ADDRESS({ details: { address: address.slice(0, 200), why } });
  for (const part of address.split(';').filter((one) => one !== '')) {
    const [, transport = '', rest = ''] = /^([^:]*):(.*)$/.exec(part) ?? [];
    if (transport !== 'unix') continue;
    const pairs = rest.split(',').map((pair) => pair.split('=', 2) as [string, string?]);
    const path = pairs.find(([key]) => key === 'path')?.[1];
    if (path === undefined) continue;
    try {
      sockets.push(decodeURIComponent(path));
    } catch {
      throw refuse('it is not escaped as it should be');
    }
  }
  if (sockets.length === 0) throw refuse('it has no unix:path=…, and nothing else is spoken here');
  return sockets;
}
