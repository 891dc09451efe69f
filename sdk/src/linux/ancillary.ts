// Messages with descriptors and credentials over Unix sockets, unix(7), sendmsg(2), recvmsg(2), cmsg(3).

import { closeSync } from 'node:fs';
import type { PeerCredentials } from '@runtime/core';
import { errors } from '../errors.ts';
import { LinuxError } from './call.ts';
import { type Mapping, mapAnonymous } from './mapping.ts';
import { ERRNO, MSG, rawRecvmsg, rawSendmsg } from './raw-io.ts';
import { setSocketOption } from './sockets.ts';

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SCM_CREDENTIALS = 2;
const MSG_CTRUNC = 8;
const MSG_TRUNC = 0x20;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/** SCM_MAX_FD, include/net/scm.h */
export const MAX_FDS_PER_MESSAGE = 253;
const MAX_BYTES = 2 ** 24;

// struct msghdr, 56 bytes: name u64@0, namelen u32@8, iov u64@16, iovlen u64@24, control u64@32, controllen u64@40, flags u32@48.
// struct iovec: base u64@0, length u64@8.
// struct cmsghdr: length u64@0, level i32@8, type i32@12, then the data; each begins at a multiple of 8.
const IOVEC_AT = 64;
const CONTROL_AT = 128;
const CMSG_HEADER = 16;
const UCRED_SPACE = 32;
const CONTROL_SPACE = UCRED_SPACE + CMSG_HEADER + 4 * MAX_FDS_PER_MESSAGE + 4;
const DATA_AT = 2048;

export interface Received {
  /** Written to the start of the buffer; 0: the peer has ended (or, on a datagram socket, sent nothing). */
  readonly bytes: number;
  /** Close-on-exec, and the caller's to close. */
  readonly fds: number[];
  /** Of the sender, filled in by the kernel; only when asked for. */
  readonly credentials: PeerCredentials | undefined;
  /** Bytes or descriptors did not fit: what came is not what was sent, and no descriptor was kept. */
  readonly truncated: boolean;
}

export interface FdSocketOptions {
  /** Most descriptors taken in one message, 0 to 253; default 253. More are refused as `truncated`. */
  readonly maxFds?: number;
  /** Whether credentials of the sender come with each message; default false. */
  readonly credentials?: boolean;
}

/**
 * Sends and receives on a Unix socket of any type. Neither call blocks, whether or not the socket is O_NONBLOCK. The
 * descriptor stays the caller's: dispose of this, then close it.
 */
export class FdSocket implements Disposable {
  readonly fd: number;
  readonly #maxFds: number;
  readonly #credentials: boolean;
  #scratch: Mapping;
  #u8: Uint8Array;
  #u32: Uint32Array;

  /** @throws SDK_ERR_ARGUMENT, LinuxError */
  constructor(fd: number, options: FdSocketOptions = {}) {
    const { maxFds = MAX_FDS_PER_MESSAGE, credentials = false } = options;
    if (!Number.isInteger(maxFds) || maxFds < 0 || maxFds > MAX_FDS_PER_MESSAGE)
      throw errors.SDK_ERR_ARGUMENT({ details: { what: 'maxFds', value: maxFds, why: 'it is not within 0 to 253' } });
    this.fd = fd;
    this.#maxFds = maxFds;
    this.#credentials = credentials;
    if (credentials) setSocketOption(fd, 'passCredentials', 1);
    this.#scratch = mapAnonymous(DATA_AT + 65_536);
    this.#u8 = new Uint8Array(this.#scratch.buffer);
    this.#u32 = new Uint32Array(this.#scratch.buffer);
  }

  /**
   * The next message, or on a stream what is there; `undefined` when there is nothing yet. Descriptors come with the
   * first byte of what they were sent with, and a stream is not read past them.
   * @throws SDK_ERR_MAPPING_CLOSED after disposal; SDK_ERR_MESSAGE; LinuxError ECONNRESET, EBADF, …
   */
  receive(into: Uint8Array): Received | undefined {
    this.#fit(into.length, 0);
    const space = (this.#credentials ? UCRED_SPACE : 0) + (this.#maxFds > 0 ? CMSG_HEADER + 4 * this.#maxFds : 0);
    this.#header(into.length, space);
    const bytes = this.#retry(rawRecvmsg, MSG_CMSG_CLOEXEC | MSG.dontwait);
    if (bytes === -ERRNO.EAGAIN) return undefined;
    if (bytes < 0) throw new LinuxError('recvmsg', -bytes);
    const flags = this.#u32[12] as number;
    const { fds, credentials } = this.#control(this.#u32[10] as number);
    const truncated = (flags & (MSG_TRUNC | MSG_CTRUNC)) !== 0 || fds.length > this.#maxFds;
    if (truncated) for (const fd of fds.splice(0)) closeSync(fd);
    // With MSG_TRUNC in the flags given, the result would be the length of the message; here it is what was copied.
    into.set(this.#u8.subarray(DATA_AT, DATA_AT + bytes));
    return { bytes, fds, credentials, truncated };
  }

  /**
   * How many bytes were taken, and with them (from 1 on) all descriptors; fewer than given only on a stream: send the
   * rest without them. `undefined`: it would block, and nothing was sent. Descriptors stay the caller's.
   * @throws SDK_ERR_MAPPING_CLOSED after disposal; SDK_ERR_MESSAGE; LinuxError EPIPE, EMSGSIZE, ETOOMANYREFS, …
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): number | undefined {
    this.#fit(bytes.length, fds.length);
    this.#u8.set(bytes, DATA_AT);
    this.#header(bytes.length, fds.length > 0 ? (CMSG_HEADER + 4 * fds.length + 7) & ~7 : 0);
    if (fds.length > 0) {
      const at = CONTROL_AT / 4;
      this.#u32[at] = CMSG_HEADER + 4 * fds.length;
      this.#u32[at + 1] = 0;
      this.#u32[at + 2] = SOL_SOCKET;
      this.#u32[at + 3] = SCM_RIGHTS;
      for (const [i, fd] of fds.entries()) this.#u32[at + 4 + i] = fd;
    }
    const sent = this.#retry(rawSendmsg, MSG.nosignal | MSG.dontwait);
    if (sent === -ERRNO.EAGAIN) return undefined;
    if (sent < 0) throw new LinuxError('sendmsg', -sent);
    return sent;
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }

  #retry(call: (fd: number, message: number, flags: number) => number, flags: number): number {
    for (;;) {
      const result = call(this.fd, this.#scratch.address, flags);
      if (result !== -ERRNO.EINTR) return result;
    }
  }

  /** Makes room, and refuses what cannot be passed. */
  #fit(bytes: number, fds: number): void {
    const refuse = (why: string) => errors.SDK_ERR_MESSAGE({ details: { bytes, fds, why } });
    // Throws when this is disposed of.
    const { byteLength } = this.#scratch.buffer;
    if (bytes < 1 || bytes > MAX_BYTES) throw refuse('the size is out of range');
    if (fds > MAX_FDS_PER_MESSAGE) throw refuse('the kernel takes no more descriptors at once');
    if (DATA_AT + bytes <= byteLength) return;
    const larger = mapAnonymous(DATA_AT + 2 ** Math.ceil(Math.log2(bytes)));
    this.#scratch[Symbol.dispose]();
    this.#scratch = larger;
    this.#u8 = new Uint8Array(larger.buffer);
    this.#u32 = new Uint32Array(larger.buffer);
  }

  #header(bytes: number, control: number): void {
    const { address } = this.#scratch;
    const u32 = this.#u32;
    u32.fill(0, 0, CONTROL_AT / 4);
    this.#pointer(16, address + IOVEC_AT);
    u32[6] = 1;
    this.#pointer(32, control > 0 ? address + CONTROL_AT : 0);
    u32[10] = control;
    this.#pointer(IOVEC_AT, address + DATA_AT);
    u32[IOVEC_AT / 4 + 2] = bytes;
    u32.fill(0, CONTROL_AT / 4, (CONTROL_AT + CONTROL_SPACE) / 4);
  }

  #pointer(at: number, address: number): void {
    this.#u32[at / 4] = address >>> 0;
    this.#u32[at / 4 + 1] = Math.floor(address / 2 ** 32);
  }

  #control(length: number): { fds: number[]; credentials: PeerCredentials | undefined } {
    const u32 = this.#u32;
    const fds: number[] = [];
    let credentials: PeerCredentials | undefined;
    for (let at = 0; at + CMSG_HEADER <= length; ) {
      const word = (CONTROL_AT + at) / 4;
      const size = u32[word] as number;
      if (size < CMSG_HEADER || at + size > length) break;
      const isSocket = u32[word + 2] === SOL_SOCKET;
      const type = u32[word + 3];
      if (isSocket && type === SCM_RIGHTS)
        for (let k = CMSG_HEADER; k + 4 <= size; k += 4) fds.push(u32[word + k / 4] as number);
      if (isSocket && type === SCM_CREDENTIALS && size >= CMSG_HEADER + 12)
        credentials = { pid: u32[word + 4] as number, uid: u32[word + 5] as number, gid: u32[word + 6] as number };
      at += (size + 7) & ~7;
    }
    return { fds, credentials };
  }
}
