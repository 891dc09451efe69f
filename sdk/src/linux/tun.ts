// Network interfaces whose other end is a descriptor, Documentation/networking/tuntap.rst, and the little of netdevice(7)
// that they need. Numbers from include/uapi/linux/if_tun.h, if.h and sockios.h.

import { closeSync, openSync } from 'node:fs';
import { errors } from '../errors.ts';
import { ioctlBuffer, ioctlNumber } from './ioctl.ts';
import { openSocket } from './sockets.ts';

const TUNSETIFF = 0x4004_54ca;
const TUNSETPERSIST = 0x4004_54cb;
const TUNSETOWNER = 0x4004_54cc;
const TUNSETOFFLOAD = 0x4004_54d0;
const TUNGETIFF = 0x8004_54d2;
const TUNSETVNETHDRSZ = 0x4004_54d8;
const TUNSETQUEUE = 0x4004_54d9;
const IFF_TAP = 2;
const IFF_MULTI_QUEUE = 0x100;
const IFF_ATTACH_QUEUE = 0x200;
const IFF_DETACH_QUEUE = 0x400;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCGIFHWADDR = 0x8927;
const SIOCSIFHWADDR = 0x8924;
const IFF_UP = 1;
const ARPHRD_ETHER = 1;

/** struct ifreq: name char[16], then a union of 24 bytes. */
const IFREQ_BYTES = 40;
const UNION_AT = 16;
/** IFNAMSIZ, less the NUL. */
const MAX_NAME = 15;
const AF_INET = 2;

/** What may be handed to the interface unfinished; needs a header in front of each packet (`vnetHeader`). */
export const TUN_OFFLOAD = { checksum: 1, tso4: 2, tso6: 4, tsoEcn: 8, uso4: 0x20, uso6: 0x40 } as const;

export interface TapOptions {
  /** At most 15 bytes; with `%d` the kernel fills in a number. Default `tap%d`. */
  readonly name?: string;
  /** Whether struct virtio_net_hdr stands in front of each packet, in both directions; default false. */
  readonly vnetHeader?: boolean;
  /** Whether further descriptors can be opened for the same interface, one for each queue; default false. */
  readonly multiQueue?: boolean;
}

export interface Tap {
  /** A frame for each read and write, without packet information. Non-blocking, close-on-exec, the caller's. */
  readonly fd: number;
  /** As the kernel calls it, in the network namespace of this thread. */
  readonly name: string;
}

/**
 * Opens an Ethernet interface, made when there is none of that name; it goes away with its last descriptor unless it is
 * made persistent. It is down at first.
 * @throws SDK_ERR_ARGUMENT for a name; Error of open(2) when there is no /dev/net/tun; LinuxError EPERM, EBUSY (another
 * has it), EINVAL (it was made with other flags), …
 */
export function openTap(options: TapOptions = {}): Tap {
  const request = interfaceRequest(options.name ?? 'tap%d');
  const flags =
    IFF_TAP |
    IFF_NO_PI |
    (options.vnetHeader === true ? IFF_VNET_HDR : 0) |
    (options.multiQueue === true ? IFF_MULTI_QUEUE : 0);
  new DataView(request.buffer).setUint16(UNION_AT, flags, true);
  // O_RDWR | O_NONBLOCK; Node adds O_CLOEXEC.
  const fd = openSync('/dev/net/tun', 0o4002);
  try {
    ioctlBuffer(fd, TUNSETIFF, request);
    return { fd, name: nameOf(request) };
  } catch (e) {
    closeSync(fd);
    throw e;
  }
}

/** What a tap descriptor that came from elsewhere is. @throws LinuxError EBADFD when it has no interface, ENOTTY when it is no tap */
export function describeTap(fd: number): {
  readonly name: string;
  readonly vnetHeader: boolean;
  readonly multiQueue: boolean;
} {
  const request = new Uint8Array(IFREQ_BYTES);
  ioctlBuffer(fd, TUNGETIFF, request);
  const flags = new DataView(request.buffer).getUint16(UNION_AT, true);
  return {
    name: nameOf(request),
    vnetHeader: (flags & IFF_VNET_HDR) !== 0,
    multiQueue: (flags & IFF_MULTI_QUEUE) !== 0,
  };
}

/** `offload`: TUN_OFFLOAD bits of what the reader can finish itself; 0 for none. @throws LinuxError EINVAL when the kernel lacks one */
export function setTapOffload(fd: number, offload: number): void {
  ioctlNumber(fd, TUNSETOFFLOAD, offload);
}

/** Bytes of the header in front of each packet: 10, or 12 with num_buffers. @throws LinuxError EINVAL */
export function setTapHeaderSize(fd: number, bytes: number): void {
  ioctlBuffer(fd, TUNSETVNETHDRSZ, Int32Array.of(bytes));
}

/** Whether the interface stays when nothing has it open. @throws LinuxError EPERM, … */
export function setTapPersistent(fd: number, on: boolean): void {
  ioctlNumber(fd, TUNSETPERSIST, on ? 1 : 0);
}

/** The user who may open a persistent interface. @throws LinuxError EPERM, … */
export function setTapOwner(fd: number, uid: number): void {
  ioctlNumber(fd, TUNSETOWNER, uid);
}

/** Whether the kernel gives packets to this queue of a `multiQueue` interface. @throws LinuxError EINVAL, … */
export function setTapQueue(fd: number, attached: boolean): void {
  const request = new Uint8Array(IFREQ_BYTES);
  new DataView(request.buffer).setUint16(UNION_AT, attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE, true);
  ioctlBuffer(fd, TUNSETQUEUE, request);
}

/** Takes an interface up or down. @throws SDK_ERR_ARGUMENT, LinuxError ENODEV, EPERM, … */
export function setInterfaceUp(name: string, up: boolean): void {
  const request = ask(name, SIOCGIFFLAGS);
  const view = new DataView(request.buffer);
  const flags = view.getUint16(UNION_AT, true);
  view.setUint16(UNION_AT, up ? flags | IFF_UP : flags & ~IFF_UP, true);
  tellInterface(SIOCSIFFLAGS, request);
}

/** @throws SDK_ERR_ARGUMENT, LinuxError ENODEV, … */
export function isInterfaceUp(name: string): boolean {
  return (new DataView(ask(name, SIOCGIFFLAGS).buffer).getUint16(UNION_AT, true) & IFF_UP) !== 0;
}

/** In bytes, without the Ethernet header. @throws SDK_ERR_ARGUMENT, LinuxError ENODEV, EINVAL, … */
export function setInterfaceMtu(name: string, mtu: number): void {
  const request = interfaceRequest(name);
  new DataView(request.buffer).setInt32(UNION_AT, mtu, true);
  tellInterface(SIOCSIFMTU, request);
}

/** @throws SDK_ERR_ARGUMENT, LinuxError ENODEV, … */
export function interfaceMtu(name: string): number {
  return new DataView(ask(name, SIOCGIFMTU).buffer).getInt32(UNION_AT, true);
}

/** Six bytes. @throws SDK_ERR_ARGUMENT, LinuxError ENODEV, … */
export function interfaceMac(name: string): Uint8Array {
  return ask(name, SIOCGIFHWADDR).slice(UNION_AT + 2, UNION_AT + 8);
}

/** `mac`: six bytes, not a group address. @throws SDK_ERR_ARGUMENT, LinuxError ENODEV, EADDRNOTAVAIL, … */
export function setInterfaceMac(name: string, mac: Uint8Array): void {
  const request = interfaceRequest(name);
  new DataView(request.buffer).setUint16(UNION_AT, ARPHRD_ETHER, true);
  request.set(mac.subarray(0, 6), UNION_AT + 2);
  tellInterface(SIOCSIFHWADDR, request);
}

function ask(name: string, operation: number): Uint8Array {
  const request = interfaceRequest(name);
  tellInterface(operation, request);
  return request;
}

/** One of netdevice(7)'s operations, whose request is read and written. @throws LinuxError */
export function tellInterface(operation: number, request: Uint8Array): void {
  closeSync(openSocket(AF_INET, 'datagram', (fd) => ioctlBuffer(fd, operation, request)));
}

/** struct ifreq with the name in it. @throws SDK_ERR_ARGUMENT */
export function interfaceRequest(name: string): Uint8Array {
  const bytes = Buffer.from(name);
  const isName =
    bytes.length >= 1 && bytes.length <= MAX_NAME && !/[\0/\s:]/.test(name) && name !== '.' && name !== '..';
  if (!isName)
    throw errors.SDK_ERR_ARGUMENT({
      details: {
        what: 'an interface name',
        value: JSON.stringify(name),
        why: 'it has 1 to 15 bytes, no slash, colon or space',
      },
    });
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(bytes);
  return request;
}

function nameOf(request: Uint8Array): string {
  const name = request.subarray(0, UNION_AT);
  const end = name.indexOf(0);
  return Buffer.from(name.subarray(0, end === -1 ? MAX_NAME : end)).toString();
}
