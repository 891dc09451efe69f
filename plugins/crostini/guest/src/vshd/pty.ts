// Pseudoterminals, pty(7) and ioctl_tty(2). Node has none; its tty streams write to a master so that a child which does
// not read would stop this process.

import { chownSync, closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { ioctlBuffer, ioctlRequest, type Watch, watch } from '@runtime/sdk/linux';
import type { WindowSize } from './launch.ts';

/** include/uapi/asm-generic/ioctls.h */
const TIOCGPTN = ioctlRequest('read', 'T', 0x30, 4);
const TIOCSPTLCK = ioctlRequest('write', 'T', 0x31, 4);
const TIOCGPGRP = 0x540f;
const TIOCSWINSZ = 0x5414;

/** What the line discipline takes for the end of the input, as stty(1) sets it. */
const END_OF_INPUT = Buffer.from([4]);
const READ_BYTES = 64 * 1024;
const READ_BUFFER = Buffer.allocUnsafe(READ_BYTES);

export interface Pty {
  readonly master: number;
  /** To be closed by the caller once its child has it. */
  readonly slave: number;
}

/** Owned by `uid`. @throws LinuxError, and errors of node:fs such as ENOSPC when there are too many */
export function openPty(uid: number): Pty {
  const flags = constants.O_RDWR | constants.O_NOCTTY;
  const master = openSync('/dev/ptmx', flags | constants.O_NONBLOCK);
  try {
    ioctlBuffer(master, TIOCSPTLCK, new Int32Array(1));
    const number = new Int32Array(1);
    ioctlBuffer(master, TIOCGPTN, number);
    const path = `/dev/pts/${number[0]}`;
    const slave = openSync(path, flags);
    if (uid !== 0) chownSync(path, uid, -1 as number);
    return { master, slave };
  } catch (e) {
    closeSync(master);
    throw e;
  }
}

/** The foreground group gets SIGWINCH. */
export function setWindowSize(master: number, { rows, columns }: WindowSize): void {
  // struct winsize: rows, columns, and two that nobody uses.
  ioctlBuffer(master, TIOCSWINSZ, Uint16Array.of(rows, columns, 0, 0));
}

/** Undefined while there is none. */
export function foregroundGroup(master: number): number | undefined {
  const group = new Int32Array(1);
  try {
    ioctlBuffer(master, TIOCGPGRP, group);
  } catch {
    return undefined;
  }
  const [id = 0] = group;
  return id > 1 ? id : undefined;
}

/** The master's side as a stream, which has it from now on. It ends when the last process has closed the other side. */
export class PtyStream extends Duplex {
  readonly #master: number;
  readonly #watch: Watch;
  #isReading = false;
  #unwritten: { rest: Uint8Array; done: (error?: Error | null) => void } | undefined;

  constructor(master: number) {
    super({ readableHighWaterMark: READ_BYTES, writableHighWaterMark: READ_BYTES, autoDestroy: false });
    this.#master = master;
    this.#watch = watch(master, {}, ({ readable, writable }) => {
      if (writable && this.#unwritten !== undefined) this.#writeSome();
      if (readable && !this.destroyed) this.#readSome();
    });
  }

  override _read(): void {
    this.#isReading = true;
    this.#updateInterest();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#unwritten = { rest: chunk, done };
    this.#writeSome();
  }

  override _final(done: (error?: Error | null) => void): void {
    this._write(END_OF_INPUT, 'buffer', done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#watch[Symbol.dispose]();
    closeSync(this.#master);
    this.#unwritten?.done();
    done(error);
  }

  #updateInterest(): void {
    if (this.destroyed) return;
    this.#watch.setInterest({
      readable: this.#isReading,
      writable: this.#unwritten !== undefined,
      hangup: this.#isReading,
    });
  }

  #readSome(): void {
    if (!this.#isReading) return this.#updateInterest();
    let length: number;
    try {
      length = readSync(this.#master, READ_BUFFER);
    } catch (e) {
      if (isBusy(e)) return;
      // EIO: nobody has the other side any more.
      length = 0;
    }
    this.#isReading = length > 0 && this.push(Buffer.from(READ_BUFFER.subarray(0, length)));
    this.#updateInterest();
    if (length === 0) this.push(null);
  }

  #writeSome(): void {
    const unwritten = this.#unwritten;
    if (unwritten === undefined) return;
    try {
      unwritten.rest = unwritten.rest.subarray(writeSync(this.#master, unwritten.rest));
    } catch (e) {
      // Of what nobody can read any more, nothing is left.
      if (!isBusy(e)) unwritten.rest = new Uint8Array(0);
    }
    if (unwritten.rest.length === 0) {
      this.#unwritten = undefined;
      unwritten.done();
    }
    this.#updateInterest();
  }
}

function isBusy(e: unknown): boolean {
  const { code } = e as NodeJS.ErrnoException;
  return code === 'EAGAIN' || code === 'EINTR';
}
