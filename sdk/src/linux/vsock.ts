// Sockets between a VM and its host, vsock(7). Numbers from include/uapi/linux/vm_sockets.h.

import { closeSync, openSync } from 'node:fs';
import { errors } from '../errors.ts';
import { isLinuxError } from './call.ts';
import { ioctlBuffer } from './ioctl.ts';
import {
  acceptSocket,
  bindSocket,
  connectSocket,
  listenSocket,
  openSocket,
  type SocketType,
  socketName,
} from './sockets.ts';

const AF_VSOCK = 40;
/** struct sockaddr_vm: family u16@0, reserved u16@2, port u32@4, cid u32@8, flags u8@12, zeros to 16. */
const SOCKADDR_BYTES = 16;
const IOCTL_VM_SOCKETS_GET_LOCAL_CID = 0x7b9;

/** Addresses and ports are 32-bit. `any` binds to every address, or to a free port. */
export const VSOCK = { any: 0xffff_ffff, hypervisor: 0, local: 1, host: 2 } as const;

export interface VsockAddress {
  readonly cid: number;
  readonly port: number;
}

export interface VsockConnection extends VsockAddress {
  /** Non-blocking, close-on-exec, and the caller's. */
  readonly fd: number;
}

type VsockType = Exclude<SocketType, 'datagram'>;

/**
 * A listening socket, non-blocking and close-on-exec, the caller's.
 * @throws SDK_ERR_ARGUMENT; LinuxError EAFNOSUPPORT, EADDRINUSE, EACCES (ports below 1024), EADDRNOTAVAIL
 */
export function listenVsock(
  at: VsockAddress,
  options: { readonly type?: VsockType; readonly backlog?: number } = {},
): number {
  const address = sockaddr(at);
  return openSocket(AF_VSOCK, options.type ?? 'stream', (fd) => {
    bindSocket(fd, address);
    listenSocket(fd, options.backlog ?? 16);
  });
}

/**
 * A socket that connects: writable when it is connected or has failed, which socketError() tells. Non-blocking,
 * close-on-exec, the caller's. @throws SDK_ERR_ARGUMENT; LinuxError EAFNOSUPPORT, ENODEV, ECONNRESET, …
 */
export function connectVsock(to: VsockAddress, options: { readonly type?: VsockType } = {}): number {
  const address = sockaddr(to);
  return openSocket(AF_VSOCK, options.type ?? 'stream', (fd) => {
    try {
      connectSocket(fd, address);
    } catch (e) {
      if (!isLinuxError(e, 'EINPROGRESS')) throw e;
    }
  });
}

/** The next connection and who made it; `undefined` when there is none. @throws LinuxError */
export function acceptVsock(fd: number): VsockConnection | undefined {
  const address = new Uint8Array(SOCKADDR_BYTES);
  const accepted = acceptSocket(fd, address);
  return accepted === undefined ? undefined : { fd: accepted, ...parse(address) };
}

/** Where a socket is bound. @throws LinuxError */
export function vsockName(fd: number): VsockAddress {
  const address = new Uint8Array(SOCKADDR_BYTES);
  socketName(fd, address);
  return parse(address);
}

/** The address of this machine: `VSOCK.host` on a host, `VSOCK.any` without a transport. @throws Error of open(2); LinuxError */
export function localCid(): number {
  const device = openSync('/dev/vsock', 'r');
  try {
    const cid = new Uint32Array(1);
    ioctlBuffer(device, IOCTL_VM_SOCKETS_GET_LOCAL_CID, cid);
    return cid[0] as number;
  } finally {
    closeSync(device);
  }
}

function sockaddr({ cid, port }: VsockAddress): Uint8Array {
  for (const [what, value] of Object.entries({ cid, port }))
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
      throw errors.SDK_ERR_ARGUMENT({ details: { what, value, why: 'it is not within 0 to 2^32 − 1' } });
  const address = new Uint8Array(SOCKADDR_BYTES);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_VSOCK, true);
  view.setUint32(4, port, true);
  view.setUint32(8, cid, true);
  return address;
}

function parse(address: Uint8Array): VsockAddress {
  const view = new DataView(address.buffer);
  return { cid: view.getUint32(8, true), port: view.getUint32(4, true) };
}
