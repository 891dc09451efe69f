// Many operations with one system call, completed later: io_uring(7), io_uring_setup(2), io_uring_enter(2).
// Layouts and numbers from include/uapi/linux/io_uring.h.

import { closeSync } from 'node:fs';
import { errors } from '../errors.ts';
import { declare, declareHot, errnoCell, LinuxError, lastErrno } from './call.ts';
import { type Mapping, mapAnonymous, mapFile } from './mapping.ts';
import { ERRNO } from './raw-io.ts';
import { syscallNumber } from './syscall-numbers.ts';

export const IORING_OP = {
  nop: 0,
  readv: 1,
  writev: 2,
  fsync: 3,
  pollAdd: 6,
  pollRemove: 7,
  sendmsg: 9,
  recvmsg: 10,
  timeout: 11,
  timeoutRemove: 12,
  accept: 13,
  asyncCancel: 14,
  connect: 16,
  fallocate: 17,
  read: 22,
  write: 23,
  send: 26,
  recv: 27,
} as const;

/** opFlags of `fsync`. */
export const IORING_FSYNC_DATASYNC = 1;
/** `length` of `pollAdd`: goes on after the first event. Its completions have IORING_CQE_F_MORE until the last. */
export const IORING_POLL_ADD_MULTI = 1;
/** opFlags of `asyncCancel`: all that match, by descriptor, any. */
export const IORING_ASYNC_CANCEL = { all: 1, fd: 2, any: 4 } as const;
/** Added to an opcode: flags of the submission, IOSQE_ shifted to where they are. */
export const IOSQE = { drain: 2 << 8, link: 4 << 8, async: 16 << 8 } as const;
/** In the flags of a completion: the same request will complete again. */
export const IORING_CQE_F_MORE = 2;

const SETUP = {
  cqSize: 8,
  clamp: 16,
  submitAll: 128,
  coopTaskrun: 256,
  singleIssuer: 4096,
  deferTaskrun: 8192,
} as const;
/** From what saves most to what every kernel that we use has; EINVAL leads to the next. */
const SETUP_FLAGS = [
  SETUP.cqSize | SETUP.clamp | SETUP.submitAll | SETUP.singleIssuer | SETUP.deferTaskrun,
  SETUP.cqSize | SETUP.clamp | SETUP.submitAll | SETUP.coopTaskrun,
  SETUP.cqSize | SETUP.clamp,
] as const;

/** SINGLE_MMAP, NODROP, SUBMIT_STABLE and EXT_ARG: Linux 5.11 has all. */
const NEEDED_FEATURES = 1 | 2 | 4 | 0x100;

const ENTER_GETEVENTS = 1;
const ENTER_EXT_ARG = 8;
const SQ_CQ_OVERFLOW = 2;
const OFFSET_SQES = 0x1000_0000;
const REGISTER_EVENTFD = 4;
const REGISTER_SYNC_CANCEL = 24;

const SQE_WORDS = 16;
const SQE_BYTES = 64;
const CQE_WORDS = 4;
const PARAMS_BYTES = 120;
/** struct io_uring_getevents_arg { u64 sigmask; u32 sigmask_sz; u32 min_wait_usec; u64 ts; }, then a timespec. */
const ARGUMENT_BYTES = 24;
const MAX_ENTRIES = 32_768;
const HIGH = 2 ** 32;

// ABI: int io_uring_setup(u32 entries, struct io_uring_params *p) through syscall(2); io_uring_setup(2). params is ours
// and written during the call; the descriptor is ours and close-on-exec.
const setup = declare<[number: number, entries: number, params: number], number>(
  'long syscall(long number, long entries, intptr_t params)',
);

// ABI: int io_uring_enter2(unsigned int fd, unsigned int to_submit, unsigned int min_complete, unsigned int flags, const
// void *argument, size_t size) through syscall(2); io_uring_enter(2). The argument is in a mapping of ours. What the
// submissions point to is used until their completions: see IoUring.
let enter = declareHot<
  [number: number, fd: number, submit: number, wait: number, flags: number, argument: number, size: number]
>('long syscall(long number, long fd, long submit, long wait, long flags, intptr_t argument, long size)', (linked) => {
  enter = linked;
  enterErrno = errnoCell();
});
/** Read in the statement after the call, see call.ts. */
let enterErrno: Int32Array = new Int32Array(1);

// ABI: int io_uring_register(unsigned int fd, unsigned int opcode, void *arg, unsigned int nr_args) through syscall(2);
// io_uring_register(2). The argument is ours and read during the call.
const register = declare<
  [number: number, fd: number, opcode: number, argument: NodeJS.TypedArray | null, count: number],
  number
>('long syscall(long number, long fd, long opcode, void *argument, long count)');

/**
 * One ring pair, used by the thread that made it. Memory and descriptors of a request must stay until it has completed,
 * also when this is disposed of: let everything complete (or cancelAll()) before.
 */
export class IoUring implements Disposable {
  /**
   * −1 once disposed. Do not watch it: where completions are only made when they are asked for (Linux 6.1), nothing is
   * told through it. registerEventfd() gives something to watch.
   */
  fd: number;
  /** How many requests can be prepared between two calls of submit. */
  readonly entries: number;
  /** How many completions fit; the kernel keeps more than that for later. */
  readonly completionEntries: number;
  /** Requests submitted of which the last completion was not reaped. */
  inFlight = 0;

  readonly #ringMapping: Mapping;
  readonly #sqeMapping: Mapping;
  readonly #argumentMapping: Mapping;
  readonly #ring: Uint32Array;
  readonly #results: Int32Array;
  readonly #sqes: Uint32Array;
  readonly #argument: Uint32Array;
  readonly #enterNumber = syscallNumber('io_uring_enter');
  /** Completions are made only by a call that asks for them. */
  readonly #deferred: boolean;
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #sqMask: number;
  readonly #sqFlags: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  /** Of submissions prepared; the kernel sees it at submit. */
  #tail = 0;
  /** Of submissions that the kernel has taken, which it does at submit only. */
  #taken = 0;
  /** Of completions that were told; the kernel sees it when all that are there were. */
  #told = 0;

  /** @throws LinuxError ENOMEM, EMFILE, … */
  static create(entries: number): IoUring | undefined {
    if (!Number.isInteger(entries) || entries < 1 || entries > MAX_ENTRIES)
      throw errors.SDK_ERR_ARGUMENT({
        details: { what: 'entries', value: entries, why: 'it is not within 1 to 32768' },
      });
    using params = mapAnonymous(PARAMS_BYTES);
    const words = new Uint32Array(params.buffer);
    const number = syscallNumber('io_uring_setup');
    for (const flags of SETUP_FLAGS) {
      words.fill(0);
      words[1] = entries * 4;
      words[2] = flags;
      const fd = setup(number, entries, params.address);
      if (fd >= 0) {
        if (((words[5] as number) & NEEDED_FEATURES) === NEEDED_FEATURES) return new IoUring(fd, words, flags);
        closeSync(fd);
        return undefined;
      }
      const errno = lastErrno();
      if (errno === ERRNO.ENOSYS || errno === ERRNO.EPERM) return undefined;
      if (errno !== ERRNO.EINVAL) throw new LinuxError('io_uring_setup', errno);
    }
    return undefined;
  }

  /** Use create(). `params`: struct io_uring_params as the kernel filled it in. */
  private constructor(fd: number, params: Uint32Array, flags: number) {
    const word = (index: number): number => params[index] as number;
    // sq_off at byte 40: head, tail, ring_mask, ring_entries, flags, dropped, array. cq_off at byte 80: head, tail,
    // ring_mask, ring_entries, overflow, cqes.
    this.fd = fd;
    this.entries = word(0);
    this.completionEntries = word(1);
    this.#deferred = (flags & SETUP.deferTaskrun) !== 0;
    const mapped: Mapping[] = [];
    try {
      const ringBytes = Math.max(word(16) + this.entries * 4, word(25) + this.completionEntries * 16);
      mapped.push(mapFile(fd, ringBytes, { populate: true }));
      mapped.push(mapFile(fd, this.entries * SQE_BYTES, { offset: OFFSET_SQES, populate: true }));
      mapped.push(mapAnonymous(ARGUMENT_BYTES + 16));
    } catch (e) {
      for (const mapping of mapped) mapping[Symbol.dispose]();
      closeSync(fd);
      throw e;
    }
    [this.#ringMapping, this.#sqeMapping, this.#argumentMapping] = mapped as [Mapping, Mapping, Mapping];
    this.#ring = new Uint32Array(this.#ringMapping.buffer);
    this.#results = new Int32Array(this.#ringMapping.buffer);
    this.#sqes = new Uint32Array(this.#sqeMapping.buffer);
    this.#argument = new Uint32Array(this.#argumentMapping.buffer);
    this.#sqHead = word(10) >>> 2;
    this.#sqTail = word(11) >>> 2;
    this.#sqMask = this.#ring[word(12) >>> 2] as number;
    this.#sqFlags = word(14) >>> 2;
    this.#cqHead = word(20) >>> 2;
    this.#cqTail = word(21) >>> 2;
    this.#cqMask = this.#ring[word(22) >>> 2] as number;
    this.#cqes = word(25) >>> 2;
    // The order of submissions is that of their entries.
    const array = word(16) >>> 2;
    for (let i = 0; i < this.entries; i++) this.#ring[array + i] = i;
    const timespec = this.#argumentMapping.address + ARGUMENT_BYTES;
    this.#argument[4] = timespec >>> 0;
    this.#argument[5] = Math.floor(timespec / HIGH);
  }

  /** How many more can be prepared before submit(). */
  get free(): number {
    return this.fd < 0 ? 0 : this.entries - this.#prepared();
  }

  /**
   * Prepares a request; nothing happens before submit(). `offset` −1 is the position of the file, and what descriptors
   * without one take. `userData` (and `auxiliary`, 32 bits more) come back with the completion.
   * `opcode` may have IOSQE flags added.
   * @throws SDK_ERR_URING when the ring is full or closed
   */
  prepare(
    opcode: number,
    fd: number,
    address: number,
    length: number,
    offset: number,
    opFlags: number,
    userData: number,
    auxiliary = 0,
  ): void {
    if (this.fd < 0) throw errors.SDK_ERR_URING({ details: { why: 'the ring is closed' } });
    if (this.#prepared() >= this.entries)
      throw errors.SDK_ERR_URING({ details: { why: 'no more fits before submit' } });
    const sqes = this.#sqes;
    const at = (this.#tail & this.#sqMask) * SQE_WORDS;
    sqes[at] = opcode;
    sqes[at + 1] = fd;
    sqes[at + 2] = offset >>> 0;
    sqes[at + 3] = Math.floor(offset / HIGH);
    sqes[at + 4] = address >>> 0;
    sqes[at + 5] = Math.floor(address / HIGH);
    sqes[at + 6] = length;
    sqes[at + 7] = opFlags;
    sqes[at + 8] = userData;
    sqes[at + 9] = auxiliary;
    sqes[at + 10] = 0;
    sqes[at + 11] = 0;
    sqes[at + 12] = 0;
    sqes[at + 13] = 0;
    sqes[at + 14] = 0;
    sqes[at + 15] = 0;
    this.#tail = (this.#tail + 1) >>> 0;
  }

  /**
   * Hands over what is prepared and waits until `waitFor` completions are there, or `timeoutUs` microseconds have
   * passed; one system call. How many were handed over, or −errno: EINTR, EBUSY (reap first), … What was not handed
   * over stays prepared.
   * @throws SDK_ERR_URING when the ring is closed
   */
  submit(waitFor: number, timeoutUs = -1): number {
    if (this.fd < 0) throw errors.SDK_ERR_URING({ details: { why: 'the ring is closed' } });
    const count = this.#prepared();
    Atomics.store(this.#ring, this.#sqTail, this.#tail);
    let flags = waitFor > 0 || this.#deferred ? ENTER_GETEVENTS : 0;
    let argument = 0;
    let size = 0;
    if (timeoutUs >= 0) {
      flags |= ENTER_EXT_ARG;
      argument = this.#argumentMapping.address;
      size = ARGUMENT_BYTES;
      const seconds = Math.floor(timeoutUs / 1e6);
      this.#argument[6] = seconds;
      this.#argument[8] = Math.floor((timeoutUs - seconds * 1e6) * 1000);
    }
    const result = enter(this.#enterNumber, this.fd, count, waitFor, flags, argument, size);
    const errno = enterErrno[0] as number;
    this.#taken = Atomics.load(this.#ring, this.#sqHead);
    if (result >= 0) {
      this.inFlight += result;
      return result;
    }
    // With a wait that fails, requests may have been taken all the same.
    this.inFlight += count - this.#prepared();
    return errno === ERRNO.ETIME ? 0 : -errno;
  }

  /**
   * Gives the completions that are there to `fn`, in their order: `result` is what the call returned, or −errno. At most
   * as many as fit the ring twice. How many there were.
   * @throws SDK_ERR_URING when the ring is closed; what `fn` throws, after which the rest can still be reaped
   */
  reap(fn: (userData: number, result: number, flags: number, auxiliary: number) => void): number {
    if (this.fd < 0) throw errors.SDK_ERR_URING({ details: { why: 'the ring is closed' } });
    let count = this.#drain(fn);
    if (this.fd >= 0 && ((this.#ring[this.#sqFlags] as number) & SQ_CQ_OVERFLOW) !== 0) {
      // More completed than fit; the kernel hands them over now.
      enter(this.#enterNumber, this.fd, 0, 0, ENTER_GETEVENTS, 0, 0);
      count += this.#drain(fn);
    }
    return count;
  }

  #drain(fn: (userData: number, result: number, flags: number, auxiliary: number) => void): number {
    const ring = this.#ring;
    const results = this.#results;
    const tail = Atomics.load(ring, this.#cqTail);
    let count = 0;
    try {
      // What is called may throw, submit, reap or dispose of this.
      while (((tail - this.#told) | 0) > 0 && this.fd >= 0) {
        const at = this.#cqes + (this.#told & this.#cqMask) * CQE_WORDS;
        const flags = ring[at + 3] as number;
        this.#told = (this.#told + 1) >>> 0;
        if ((flags & IORING_CQE_F_MORE) === 0) this.inFlight--;
        count++;
        fn(ring[at] as number, results[at + 2] as number, flags, ring[at + 1] as number);
      }
    } finally {
      if (count > 0 && this.fd >= 0) Atomics.store(ring, this.#cqHead, this.#told);
    }
    return count;
  }

  /** Has an eventfd signalled with each completion, io_uring_register(2) IORING_REGISTER_EVENTFD. @throws LinuxError */
  registerEventfd(eventfd: number): void {
    this.#register(REGISTER_EVENTFD, Int32Array.of(eventfd), 1);
  }

  /**
   * Cancels everything in flight and waits until the kernel is done with it, at most `timeoutMs`; completions follow as
   * usual. False: something goes on (a regular file's I/O cannot be stopped, only awaited), or Linux is older than 6.0.
   */
  cancelAll(timeoutMs: number): boolean {
    // struct io_uring_sync_cancel_reg: addr u64@0, fd i32@8, flags u32@12, timespec@16, opcode u8@32, pad to 64.
    const words = new Uint32Array(16);
    words[2] = 0xffff_ffff;
    words[3] = IORING_ASYNC_CANCEL.all | IORING_ASYNC_CANCEL.any;
    words[4] = Math.floor(timeoutMs / 1000);
    words[6] = (timeoutMs % 1000) * 1e6;
    try {
      this.#register(REGISTER_SYNC_CANCEL, words, 1);
      return true;
    } catch (e) {
      if (!(e instanceof LinuxError)) throw e;
      // Nothing to cancel is what was wanted.
      return e.errnoName === 'ENOENT';
    }
  }

  #register(opcode: number, argument: NodeJS.TypedArray, count: number): void {
    if (this.fd < 0) throw errors.SDK_ERR_URING({ details: { why: 'the ring is closed' } });
    if (register(syscallNumber('io_uring_register'), this.fd, opcode, argument, count) < 0)
      throw new LinuxError('io_uring_register', lastErrno());
  }

  /** Prepared and not taken by the kernel. */
  #prepared(): number {
    return (this.#tail - this.#taken) >>> 0;
  }

  [Symbol.dispose](): void {
    if (this.fd < 0) return;
    closeSync(this.fd);
    this.fd = -1;
    for (const mapping of [this.#ringMapping, this.#sqeMapping, this.#argumentMapping]) mapping[Symbol.dispose]();
  }
}
