// The four kinds of pools. They know values and nothing of owners; `resources.ts` adds those. All are synchronous: no
// await between test and set, so no races.

import type {
  AddressRange,
  CountPoolSpec,
  IdPoolSpec,
  PoolKind,
  PoolSpec,
  PoolValues,
  RangePoolSpec,
} from './tokens.ts';

/** What is asked of a pool. Which fields count depends on its kind. */
export interface Ask {
  /** Exactly this value: an id, the start of a range, a path. Required for paths. */
  readonly at?: bigint | string;
  /** Length of a range, or amount of a count. Required for both. */
  readonly size?: bigint;
  /** Of a range; a power of two. */
  readonly align?: bigint;
}

/** Why not. `range`: the request itself is impossible here. */
export type Refusal =
  | { readonly why: 'exhausted' }
  | { readonly why: 'taken'; readonly value: PoolValues[PoolKind] }
  | { readonly why: 'range'; readonly because: string };

export type Taken<V> = { readonly value: V } | Refusal;

export interface Pool<V = PoolValues[PoolKind]> {
  take(ask: Ask): Taken<V>;
  release(value: V): void;
  /** Whether a value that is held already is what this request would want. */
  satisfies(value: V, ask: Ask): boolean;
  /** How much of the pool a value is worth, to tell who holds most. */
  weigh(value: V): bigint;
  /** Whether two values collide. */
  collides(a: V, b: V): boolean;
}

const isPowerOfTwo = (n: bigint): boolean => n > 0n && (n & (n - 1n)) === 0n;

/** Why a pool cannot be made so; `undefined` when it can. */
export function checkPoolSpec(spec: PoolSpec): string | undefined {
  switch (spec.kind) {
    case 'id':
      return spec.from <= spec.to ? undefined : `from ${spec.from} is above to ${spec.to}`;
    case 'range':
      if (spec.size <= 0n || spec.base < 0n) return 'base must not be negative and size must be positive';
      return isPowerOfTwo(spec.align ?? 1n) ? undefined : `align ${spec.align} is not a power of two`;
    case 'count':
      return spec.total >= 0n ? undefined : 'total is negative';
    case 'path':
      return undefined;
  }
}

export function createPool(spec: PoolSpec): Pool {
  switch (spec.kind) {
    case 'id':
      return new IdPool(spec) as Pool;
    case 'range':
      return new RangePool(spec) as Pool;
    case 'path':
      return new PathPool() as Pool;
    case 'count':
      return new CountPool(spec) as Pool;
  }
}

const refuse = (because: string): Refusal => ({ why: 'range', because });

/** Hands out the id after the last one, so that an id which was just released (a CID, say) is not met again at once. */
class IdPool implements Pool<bigint> {
  readonly #spec: IdPoolSpec;
  readonly #held: Set<bigint> = new Set();
  #next: bigint;

  constructor(spec: IdPoolSpec) {
    this.#spec = spec;
    this.#next = spec.from;
  }

  take(ask: Ask): Taken<bigint> {
    const { from, to } = this.#spec;
    if (ask.at !== undefined) return this.#takeAt(ask.at);
    if (BigInt(this.#held.size) > to - from) return { why: 'exhausted' };
    let id = this.#next;
    while (this.#held.has(id)) id = id === to ? from : id + 1n;
    this.#held.add(id);
    this.#next = id === to ? from : id + 1n;
    return { value: id };
  }

  #takeAt(id: bigint | string): Taken<bigint> {
    const { from, to } = this.#spec;
    if (typeof id !== 'bigint' || id < from || id > to) return refuse(`its ids go from ${from} to ${to}`);
    if (this.#held.has(id)) return { why: 'taken', value: id };
    this.#held.add(id);
    return { value: id };
  }

  release(id: bigint): void {
    this.#held.delete(id);
  }

  satisfies(id: bigint, ask: Ask): boolean {
    return ask.at === undefined || ask.at === id;
  }

  weigh(): bigint {
    return 1n;
  }

  collides(a: bigint, b: bigint): boolean {
    return a === b;
  }
}

/** First fit over the held ranges, which are kept sorted. */
class RangePool implements Pool<AddressRange> {
  readonly #spec: RangePoolSpec;
  readonly #held: AddressRange[] = [];

  constructor(spec: RangePoolSpec) {
    this.#spec = spec;
  }

  take(ask: Ask): Taken<AddressRange> {
    const { size } = ask;
    if (size === undefined || size <= 0n) return refuse('a range needs a positive size');
    const align = max(ask.align ?? 1n, this.#spec.align ?? 1n);
    if (!isPowerOfTwo(align)) return refuse(`align ${align} is not a power of two`);
    return ask.at === undefined ? this.#takeFirst(size, align) : this.#takeAt(ask.at, size, align);
  }

  #takeFirst(size: bigint, align: bigint): Taken<AddressRange> {
    const end = this.#spec.base + this.#spec.size;
    let start = alignUp(this.#spec.base, align);
    let index = 0;
    for (const held of this.#held) {
      if (start + size <= held.start) break;
      start = alignUp(max(start, held.start + held.size), align);
      index += 1;
    }
    if (start + size > end) return { why: 'exhausted' };
    const value = { start, size };
    this.#held.splice(index, 0, value);
    return { value };
  }

  #takeAt(start: bigint | string, size: bigint, align: bigint): Taken<AddressRange> {
    const { base } = this.#spec;
    const end = base + this.#spec.size;
    if (typeof start !== 'bigint' || start < base || start + size > end)
      return refuse(`it spans ${base} to ${end - 1n}`);
    if (start % align !== 0n) return refuse(`${start} is not a multiple of ${align}`);
    const value = { start, size };
    const clash = this.#held.find((held) => this.collides(held, value));
    if (clash !== undefined) return { why: 'taken', value: clash };
    const index = this.#held.findIndex((held) => held.start > start);
    this.#held.splice(index === -1 ? this.#held.length : index, 0, value);
    return { value };
  }

  release(range: AddressRange): void {
    const index = this.#held.findIndex((held) => held.start === range.start);
    if (index !== -1) this.#held.splice(index, 1);
  }

  satisfies(range: AddressRange, ask: Ask): boolean {
    const isPlace = ask.at === undefined || ask.at === range.start;
    return isPlace && ask.size === range.size && range.start % max(ask.align ?? 1n, 1n) === 0n;
  }

  weigh(range: AddressRange): bigint {
    return range.size;
  }

  collides(a: AddressRange, b: AddressRange): boolean {
    return a.start < b.start + b.size && b.start < a.start + a.size;
  }
}

class PathPool implements Pool<string> {
  readonly #held: Set<string> = new Set();

  take(ask: Ask): Taken<string> {
    const path = ask.at;
    if (typeof path !== 'string' || !isNormalPath(path)) return refuse('a path is absolute, without ".", ".." or "//"');
    if (this.#held.has(path)) return { why: 'taken', value: path };
    this.#held.add(path);
    return { value: path };
  }

  release(path: string): void {
    this.#held.delete(path);
  }

  satisfies(path: string, ask: Ask): boolean {
    return ask.at === path;
  }

  weigh(): bigint {
    return 1n;
  }

  collides(a: string, b: string): boolean {
    return a === b;
  }
}

class CountPool implements Pool<bigint> {
  #left: bigint;
  readonly #total: bigint;

  constructor(spec: CountPoolSpec) {
    this.#left = spec.total;
    this.#total = spec.total;
  }

  take(ask: Ask): Taken<bigint> {
    const { size } = ask;
    if (size === undefined || size < 0n) return refuse('a count needs a size');
    if (size > this.#total) return refuse(`there are ${this.#total} in all`);
    if (size > this.#left) return { why: 'exhausted' };
    this.#left -= size;
    return { value: size };
  }

  release(amount: bigint): void {
    this.#left += amount;
  }

  satisfies(amount: bigint, ask: Ask): boolean {
    return amount === ask.size;
  }

  weigh(amount: bigint): bigint {
    return amount;
  }

  collides(): boolean {
    return false;
  }
}

function isNormalPath(path: string): boolean {
  if (!path.startsWith('/') || path.length > 4096 || path.includes('\0')) return false;
  const parts = path.slice(1).split('/');
  return parts.every((part) => part !== '' && part !== '.' && part !== '..');
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function alignUp(n: bigint, align: bigint): bigint {
  return (n + align - 1n) & ~(align - 1n);
}
