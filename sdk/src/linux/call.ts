// The way to libc. Everything native of the project goes through declare(): a function is looked up when it is first
// called, so that importing this costs nothing.
//
// errno is read from where libc keeps it, in the statement after the call. Asking for it with a call of its own is too
// late: on the way there V8 may finish a compilation or collect garbage, and its locks make system calls that change it.

import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { isRuntimeError, RuntimeError } from '@runtime/core/errors';
import { errors, sdkErrorTable } from '../errors.ts';

type Koffi = typeof import('koffi');

let koffi: Koffi | undefined;
/** Loads koffi, about 10 ms, when it is first needed. */
export function loadKoffi(): Koffi {
  koffi ??= createRequire(import.meta.url)('koffi') as Koffi;
  return koffi;
}

let libc: ReturnType<Koffi['load']> | undefined;

/** What a C function of ours takes. Pointers are given as typed arrays, which must live until the call returns. */
export type Argument = number | bigint | string | NodeJS.TypedArray | null;

/**
 * Declares a function of libc. Types in `prototype` are those of C without names of our own: a named type is global to
 * the process, and a second definition of it throws.
 * @example const getpid = declare<[], number>('int getpid()')
 */
export function declare<A extends readonly Argument[], R extends number | bigint>(
  prototype: string,
): (...args: A) => R {
  let call: ((...args: A) => R) | undefined;
  let cell: Int32Array = NO_ERRNO;
  return (...args) => {
    if (call === undefined) {
      call = link<A, R>(prototype);
      cell = errnoCell();
    }
    const result = call(...args);
    const errno = cell[0] as number;
    if (result === -1 || result === -1n) failed = errno;
    return result;
  };
}

/**
 * As declare(), for a function that is called often: what is returned replaces itself through `keep` at its first call,
 * after which a call costs what koffi takes and no more. Pointers are numbers here ('intptr_t'), see mapping.ts. Whoever
 * wants errno reads it from errnoCell(), in the statement after the call.
 */
export function declareHot<A extends readonly number[]>(
  prototype: string,
  keep: (linked: (...args: A) => number) => void,
): (...args: A) => number {
  return (...args) => {
    const linked = link<A, number>(prototype);
    keep(linked);
    return linked(...args);
  };
}

function link<A extends readonly Argument[], R>(prototype: string): (...args: A) => R {
  if (process.platform !== 'linux')
    throw errors.SDK_ERR_PLATFORM({ details: { what: prototype, platform: process.platform } });
  // The running program is linked with libc, whatever its file is called (glibc, musl).
  libc ??= loadKoffi().load(null);
  return libc.func(prototype);
}

const NO_ERRNO = new Int32Array(1);
let ownErrno: Int32Array | undefined;

/**
 * errno of this thread, at index 0, as libc keeps it: valid in the statement after a call, before anything else is called.
 * Worker threads load this module anew, so each has its own.
 */
export function errnoCell(): Int32Array {
  // ABI: int *__errno_location(void), of glibc and musl; the address stays the same as long as the thread lives.
  ownErrno ??= new Int32Array(loadKoffi().view(link<[], number>('intptr_t __errno_location()')(), 4));
  return ownErrno;
}

let failed = 0;

/** errno of the latest call of a function of declare() in this thread that returned -1. */
export function lastErrno(): number {
  return failed;
}

/** `EIO` for 5 and −5; `E<number>` for one without a name here. */
export function errnoName(errno: number): string {
  const positive = Math.abs(errno);
  // libuv does not know all that Linux has.
  const known = getSystemErrorMap().get(-positive)?.[0];
  return known ?? Object.entries(constants.errno).find(([, value]) => value === positive)?.[0] ?? `E${positive}`;
}

/** A system call that failed. Its code is SDK_ERR_SYSCALL; what failed and how is in the fields. */
export class LinuxError extends RuntimeError<'SDK_ERR_SYSCALL'> {
  override readonly name: string = 'LinuxError';
  readonly syscall: string;
  /** Positive, as in errno(3). */
  readonly errno: number;
  /** `ESRCH`, `EPERM`, …; `E<number>` for one without a name here. */
  readonly errnoName: string;

  constructor(syscall: string, errno: number) {
    const name = errnoName(errno);
    const [, why] = getSystemErrorMap().get(-errno) ?? [name, 'unknown error'];
    super('SDK_ERR_SYSCALL', sdkErrorTable.SDK_ERR_SYSCALL, { details: { syscall, errno: name, why } });
    this.syscall = syscall;
    this.errno = errno;
    this.errnoName = name;
  }
}

/** True for a failed system call; with `errnoName`, only for that failure. */
export function isLinuxError(e: unknown, errnoName?: string): e is LinuxError {
  return isRuntimeError(e, 'SDK_ERR_SYSCALL') && (errnoName === undefined || (e as LinuxError).errnoName === errnoName);
}

/** Returns what the call returned, as a number. @throws LinuxError when that is -1 */
export function check(syscall: string, result: number | bigint): number {
  const value = Number(result);
  if (value === -1) throw new LinuxError(syscall, lastErrno());
  return value;
}
