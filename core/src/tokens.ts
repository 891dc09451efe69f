// Tokens name a capability and carry its type. They are compared by `id`, never by object identity: a reloaded module,
// or a second copy of a contract, makes a new token object for the same thing.

export interface Token<Kind extends string, T> {
  readonly kind: Kind;
  readonly id: string;
  /** Contract version (semver) of what is behind the token, independent of the plugin's own version. */
  readonly version: string;
  /** Type carrier only; reading it throws. */
  readonly T: T;
}

/**
 * `live`: consumers hold a forwarding handle and survive a reload of the provider.
 * `restart`: consumers are restarted with it (for services that hand out stateful objects).
 */
export type Rebind = 'live' | 'restart';

export interface ServiceToken<T> extends Token<'service', T> {
  readonly rebind: Rebind;
}

export const HOOK_KINDS = ['series', 'parallel', 'bail', 'waterfall', 'sync', 'sync-bail'] as const;
/**
 * - `series`: taps one after the other; the first failure ends the call.
 * - `parallel`: all taps at once; every failure is collected.
 * - `bail`: like series; the first answer other than `undefined` wins.
 * - `waterfall`: each tap may replace the first argument.
 * - `sync`, `sync-bail`: the same without promises, for paths that cannot wait.
 */
export type HookKind = (typeof HOOK_KINDS)[number];

/** `A`: arguments. `R`: what a tap may answer (bail: the answer; waterfall: the type of `A[0]`; else nothing). */
export interface HookToken<K extends HookKind, A extends readonly unknown[], R = void>
  extends Token<'hook', (...args: A) => R> {
  readonly hookKind: K;
  /** Names of the arguments, for traces and errors. */
  readonly args: readonly string[];
}

export interface IdPoolSpec {
  readonly kind: 'id';
  /** First and last id that may be leased, both inclusive. */
  readonly from: bigint;
  readonly to: bigint;
}
export interface RangePoolSpec {
  readonly kind: 'range';
  /** Start of the space and its length, in the unit of the pool (bytes, addresses, …). */
  readonly base: bigint;
  readonly size: bigint;
  /** Alignment of every range unless the request asks for a larger one; a power of two; default 1. */
  readonly align?: bigint;
}
export interface PathPoolSpec {
  readonly kind: 'path';
}
export interface CountPoolSpec {
  readonly kind: 'count';
  /** How much there is in all, in the unit of the pool (bytes of memory, CPU shares, …). */
  readonly total: bigint;
}
export type PoolSpec = IdPoolSpec | RangePoolSpec | PathPoolSpec | CountPoolSpec;

export interface AddressRange {
  readonly start: bigint;
  readonly size: bigint;
}
/** What a lease from a pool of each kind is worth. */
export interface PoolValues {
  id: bigint;
  range: AddressRange;
  path: string;
  count: bigint;
}
export type PoolKind = keyof PoolValues;

export interface PoolToken<K extends PoolKind = PoolKind> extends Token<'pool', PoolValues[K]> {
  readonly spec: Extract<PoolSpec, { kind: K }>;
}

function token<X>(fields: object): X {
  return Object.freeze(
    Object.defineProperty({ ...fields }, 'T', {
      get(): never {
        throw new TypeError('Token.T is a type carrier, not a value');
      },
    }),
  ) as X;
}

/** `defineService<Greeter>('greeter', { version: '1.0.0' })` */
export function defineService<T extends object>(
  id: string,
  options: { readonly version: string; readonly rebind?: Rebind },
): ServiceToken<T> {
  return token({ kind: 'service', id, version: options.version, rebind: options.rebind ?? 'live' });
}

/**
 * Curried, so that the types are given by hand and the kind is inferred:
 * `defineHook<[request: StartVm], Veto>()('vm/before-start', 'bail', ['request'])`.
 */
export function defineHook<A extends readonly unknown[], R = void>(): <K extends HookKind>(
  id: string,
  kind: K,
  args: { readonly [I in keyof A]-?: string },
  options?: { readonly version?: string },
) => HookToken<K, A, R> {
  return (id, hookKind, args, options) =>
    token({ kind: 'hook', id, hookKind, args, version: options?.version ?? '1.0.0' });
}

/** `definePool('vsock-cid', { kind: 'id', from: 3n, to: 0xffff_fffen })` */
export function definePool<const S extends PoolSpec>(
  id: string,
  spec: S,
  options?: { readonly version?: string },
): PoolToken<S['kind']> {
  return token({ kind: 'pool', id, spec, version: options?.version ?? '1.0.0' });
}
