// Messages from a stream socket, a piece at a time, with the descriptors that came with them. Whoever sends half a message
// and waits costs one buffer and stops nobody.

import { closeSync } from 'node:fs';
import { errors } from '../../errors.ts';
import type { FdSocket } from '../../linux/ancillary.ts';
import { Flag, HEADER_SIZE, MAX_PAYLOAD } from './messages.ts';

/** Descriptors that came with a message: what is not taken is closed. */
export class ReceivedFds {
  readonly #fds: number[];

  constructor(fds: number[]) {
    this.#fds = fds;
  }

  get count(): number {
    return this.#fds.length;
  }

  /** The next one, which is the caller's now. */
  take(): number | undefined {
    return this.#fds.shift();
  }

  closeRest(): void {
    closeFds(this.#fds.splice(0));
  }
}

export function closeFds(fds: readonly number[]): void {
  for (const fd of fds) if (fd >= 0) closeSync(fd);
}

export interface Frame {
  readonly id: number;
  readonly flags: number;
  /** Valid until the next frame is read. */
  readonly payload: Uint8Array;
  readonly fds: ReceivedFds;
}

export class FrameReader {
  readonly #socket: FdSocket;
  readonly #header = new Uint8Array(HEADER_SIZE);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #body = new Uint8Array(MAX_PAYLOAD);
  readonly #expectedFlags: number;
  #got = 0;
  #fds: number[] = [];

  /** @param from  whose messages these are: requests or answers */
  constructor(socket: FdSocket, from: 'requests' | 'replies') {
    this.#socket = socket;
    this.#expectedFlags = from === 'requests' ? Flag.version : Flag.version | Flag.reply;
  }

  /**
   * `wait`: the rest has not come yet; `end`: nothing more will come.
   * @throws SDK_ERR_VHOST_USER_PROTOCOL when this is no message; LinuxError when the connection broke
   */
  next(): Frame | 'wait' | 'end' {
    while (this.#got < HEADER_SIZE) {
      const step = this.#fill(this.#header, this.#got, HEADER_SIZE, this.#got === 0);
      if (step !== undefined) return step;
    }
    const view = this.#headerView;
    const flags = view.getUint32(4, true);
    const size = view.getUint32(8, true);
    if ((flags & (Flag.versionMask | Flag.reply)) !== this.#expectedFlags) {
      throw this.#refuse(`flags 0x${flags.toString(16)} are not those of version 1`);
    }
    if (size > MAX_PAYLOAD) throw this.#refuse(`a payload of ${size} bytes is longer than ${MAX_PAYLOAD}`);
    while (this.#got < HEADER_SIZE + size) {
      const step = this.#fill(this.#body, this.#got - HEADER_SIZE, size, false);
      if (step !== undefined) return step;
    }
    this.#got = 0;
    const fds = new ReceivedFds(this.#fds);
    this.#fds = [];
    return { id: view.getUint32(0, true), flags, payload: this.#body.subarray(0, size), fds };
  }

  /** Closes the descriptors of a message that never became whole. */
  close(): void {
    closeFds(this.#fds.splice(0));
  }

  #fill(target: Uint8Array, from: number, to: number, first: boolean): 'wait' | 'end' | undefined {
    const received = this.#socket.receive(target.subarray(from, to));
    if (received === undefined) return 'wait';
    if (received.truncated)
      throw this.#refuse('more descriptors came than a message has, or than this process may have');
    if (received.fds.length > 0) {
      this.#fds.push(...received.fds);
      // They come with the first byte of their message; whatever else has them is no message.
      if (!first) throw this.#refuse('descriptors came inside a message');
    }
    if (received.bytes === 0) {
      if (this.#got > 0) throw this.#refuse('the connection ended inside a message');
      return 'end';
    }
    this.#got += received.bytes;
    return undefined;
  }

  #refuse(why: string): Error {
    this.close();
    return errors.SDK_ERR_VHOST_USER_PROTOCOL({ details: { why } });
  }
}
