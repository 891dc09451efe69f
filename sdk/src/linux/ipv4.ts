// Addresses and routes of IPv4, netdevice(7), rtnetlink's forerunner in route(8). Numbers from include/uapi/linux/sockios.h
// and route.h.

import { isIPv4 } from 'node:net';
import { errors } from '../errors.ts';
import { interfaceRequest, tellInterface } from './tun.ts';

const SIOCADDRT = 0x890b;
const SIOCDELRT = 0x890c;
const SIOCSIFADDR = 0x8916;
const SIOCSIFNETMASK = 0x891c;
const AF_INET = 2;
/** In struct ifreq: struct sockaddr_in: family u16@0, port u16@2, address 4 bytes@4. */
const ADDRESS_AT = 16;
/**
 * struct rtentry of 64-bit machines: destination sockaddr@8, gateway sockaddr@24, mask sockaddr@40, flags u16@56; the rest
 * is zero.
 */
const RTENTRY_BYTES = 120;
const RTENTRY = { destination: 8, gateway: 24, mask: 40, flags: 56 } as const;
const RTF_UP = 1;
const RTF_GATEWAY = 2;

/** Dotted. It takes the place of the one it had. @throws SDK_ERR_ARGUMENT, LinuxError ENODEV, EPERM, … */
export function setInterfaceAddress(name: string, address: string, netmask: string): void {
  for (const [operation, value] of [
    [SIOCSIFADDR, address],
    [SIOCSIFNETMASK, netmask],
  ] as const) {
    const request = interfaceRequest(name);
    putAddress(request, ADDRESS_AT, value);
    tellInterface(operation, request);
  }
}

/** Dotted. @throws SDK_ERR_ARGUMENT, LinuxError EEXIST, ENETUNREACH, EPERM, … */
export function addDefaultRoute(gateway: string): void {
  tellInterface(SIOCADDRT, defaultRoute(gateway));
}

/** @throws SDK_ERR_ARGUMENT, LinuxError ESRCH when there is none, EPERM, … */
export function removeDefaultRoute(gateway: string): void {
  tellInterface(SIOCDELRT, defaultRoute(gateway));
}

function defaultRoute(gateway: string): Uint8Array {
  const entry = new Uint8Array(RTENTRY_BYTES);
  putAddress(entry, RTENTRY.destination, '0.0.0.0');
  putAddress(entry, RTENTRY.gateway, gateway);
  putAddress(entry, RTENTRY.mask, '0.0.0.0');
  new DataView(entry.buffer).setUint16(RTENTRY.flags, RTF_UP | RTF_GATEWAY, true);
  return entry;
}

function putAddress(bytes: Uint8Array, at: number, address: string): void {
  if (!isIPv4(address))
    throw errors.SDK_ERR_ARGUMENT({
      details: { what: 'an address', value: JSON.stringify(address), why: 'it is four numbers with dots' },
    });
  new DataView(bytes.buffer).setUint16(at, AF_INET, true);
  bytes.set(address.split('.').map(Number), at + 4);
}
