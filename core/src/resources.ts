// Leases: what only one may hold, held under a stable key. Unloading a plugin releases its leases; reloading it parks
// them, and the new instance claims each by asking for the same key again.

import { errors } from './core-errors.ts';
import { type Ask, checkPoolSpec, createPool, type Pool, type Refusal } from './pools.ts';
import type { Scope } from './scope.ts';
import type { PoolKind, PoolSpec, PoolToken, PoolValues } from './tokens.ts';
import type { Tracer } from './tracing.ts';

export interface LeaseRequest extends Ask {
  /** Stable name, unique per plugin and pool (`vm:penguin`): what a reload or restore claims by. */
  readonly key: string;
}

/** `parked`: the owner is being reloaded; only it may claim, under the same key. */
export type LeaseState = 'held' | 'parked' | 'released';

export interface Lease<V = PoolValues[PoolKind]> extends Disposable {
  readonly pool: string;
  readonly key: string;
  readonly owner: string;
  readonly value: V;
  readonly state: LeaseState;
}

/** A token of any kind. Not `PoolToken<PoolKind>`, to which that of one kind is not assignable. */
export type AnyPoolToken = { [K in PoolKind]: PoolToken<K> }[PoolKind];

export type PoolLeases<P extends readonly (readonly [AnyPoolToken, LeaseRequest])[]> = {
  readonly [I in keyof P]: P[I] extends readonly [PoolToken<infer K>, LeaseRequest] ? Lease<PoolValues[K]> : never;
};

/** Synchronous on purpose. */
export interface ResourceAllocator {
  /**
   * @throws CORE_ERR_POOL_EXHAUSTED (names who holds most), CORE_ERR_LEASE_TAKEN, CORE_ERR_LEASE_RANGE,
   *   CORE_ERR_LEASE_DUPLICATE, CORE_ERR_POOL_CONFLICT, CORE_ERR_POOL_SPEC
   */
  lease<K extends PoolKind>(pool: PoolToken<K>, request: LeaseRequest): Lease<PoolValues[K]>;
  /** All or nothing. */
  leaseAll<const P extends readonly (readonly [AnyPoolToken, LeaseRequest])[]>(requests: P): PoolLeases<P>;
  /** Who holds what, in all pools. */
  inspect(): readonly LeaseInfo[];
}

export interface LeaseInfo {
  readonly pool: string;
  readonly key: string;
  readonly owner: string;
  readonly state: 'held' | 'parked';
  readonly value: PoolValues[PoolKind];
}

type AnyPool = PoolToken<PoolKind>;

interface PoolEntry {
  readonly id: string;
  readonly spec: PoolSpec;
  readonly pool: Pool;
}

interface LeaseRecord extends Lease {
  readonly entry: PoolEntry;
  state: LeaseState;
  /** What ends the record with the scope that made or claimed it. */
  registration: Disposable | undefined;
}

const MAX_KEY = 256;
const TOP_HOLDERS = 3;

function identity(owner: string, pool: string, key: string): string {
  return `${owner}\0${pool}\0${key}`;
}

export interface ResourceTableOptions {
  readonly tracer: Tracer;
  /** Bounds from the configuration, which replace those of the tokens. */
  readonly pools?: Readonly<Record<string, PoolSpec>>;
}

/** The resources of one runtime. */
export class ResourceTable {
  readonly #pools: Map<string, PoolEntry> = new Map();
  readonly #held: Map<string, LeaseRecord> = new Map();
  /** Kept apart from the held ones: a reloaded plugin may ask for something else under the same key. */
  readonly #parked: Map<string, LeaseRecord> = new Map();
  readonly #options: ResourceTableOptions;

  constructor(options: ResourceTableOptions) {
    this.#options = options;
  }

  /** The view of one plugin; what it leases ends with `scope`, unless it is parked before. */
  view(scope: Scope): ResourceAllocator {
    return {
      lease: (pool, request) => this.#lease(scope, pool as unknown as AnyPool, request) as never,
      leaseAll: (requests) =>
        this.#leaseAll(scope, requests as unknown as readonly (readonly [PoolToken, LeaseRequest])[]) as never,
      inspect: () => this.inspect(),
    };
  }

  inspect(): readonly LeaseInfo[] {
    const records = [...this.#held.values(), ...this.#parked.values()];
    return records.map(({ pool, key, owner, value, state }) => ({
      pool,
      key,
      owner,
      value,
      state: state as LeaseInfo['state'],
    }));
  }

  /** From now on closing the owner's scope keeps its leases. */
  park(owner: string): void {
    for (const [id, record] of this.#held) {
      if (record.owner !== owner) continue;
      this.#held.delete(id);
      // The scope, which closes next, must not release it.
      const { registration } = record;
      record.registration = undefined;
      registration?.[Symbol.dispose]();
      if (this.#parked.has(id)) {
        // A claim that failed left the original here; this one is of the code that failed.
        this.#free(record);
      } else {
        record.state = 'parked';
        this.#parked.set(id, record);
        this.#trace(record, 'parked');
      }
    }
  }

  /** Releases what the owner parked and did not claim. Returns the keys. */
  sweep(owner: string): readonly string[] {
    const swept: string[] = [];
    for (const [id, record] of this.#parked) {
      if (record.owner !== owner) continue;
      this.#parked.delete(id);
      this.#free(record);
      swept.push(`${record.pool}/${record.key}`);
    }
    return swept;
  }

  #lease(scope: Scope, token: PoolToken, request: LeaseRequest): LeaseRecord {
    const entry = this.#entry(token);
    const { owner } = scope;
    const { key } = request;
    if (scope.closed) {
      throw errors.CORE_ERR_SCOPE_CLOSED({ plugin: owner, details: { owner, label: `lease ${entry.id}/${key}` } });
    }
    if (key === '' || key.length > MAX_KEY) {
      throw this.#refusal(entry, owner, request, { why: 'range', because: `a key has 1 to ${MAX_KEY} characters` });
    }
    const id = identity(owner, entry.id, key);
    if (this.#held.has(id)) {
      throw errors.CORE_ERR_LEASE_DUPLICATE({ plugin: owner, details: { owner, key, pool: entry.id } });
    }
    const record = this.#claim(id, entry, request) ?? this.#take(entry, owner, request);
    this.#bind(scope, id, record);
    return record;
  }

  #claim(id: string, entry: PoolEntry, request: LeaseRequest): LeaseRecord | undefined {
    const record = this.#parked.get(id);
    if (record === undefined || !entry.pool.satisfies(record.value, request)) return undefined;
    this.#parked.delete(id);
    // The old instance keeps its object; disposing that late must not take the lease from the new one.
    record.state = 'released';
    return this.#record(entry, record.owner, record.key, record.value);
  }

  #take(entry: PoolEntry, owner: string, request: LeaseRequest): LeaseRecord {
    const taken = entry.pool.take(request);
    if ('why' in taken) throw this.#refusal(entry, owner, request, taken);
    return this.#record(entry, owner, request.key, taken.value);
  }

  #record(entry: PoolEntry, owner: string, key: string, value: PoolValues[PoolKind]): LeaseRecord {
    const release = (): void => this.#release(record);
    const record: LeaseRecord = {
      entry,
      pool: entry.id,
      key,
      owner,
      value,
      state: 'held',
      registration: undefined,
      [Symbol.dispose]: release,
    };
    return record;
  }

  #bind(scope: Scope, id: string, record: LeaseRecord): void {
    record.state = 'held';
    this.#held.set(id, record);
    record.registration = scope.defer(`lease ${record.pool}/${record.key}`, () => {
      // Parked meanwhile: it belongs to the next instance.
      if (record.registration !== undefined) this.#release(record);
    });
    this.#trace(record, 'held');
  }

  #release(record: LeaseRecord): void {
    if (record.state !== 'held') return;
    this.#held.delete(identity(record.owner, record.pool, record.key));
    this.#free(record);
    const { registration } = record;
    record.registration = undefined;
    registration?.[Symbol.dispose]();
  }

  #free(record: LeaseRecord): void {
    record.state = 'released';
    record.entry.pool.release(record.value);
    this.#trace(record, 'released');
  }

  #leaseAll(scope: Scope, requests: readonly (readonly [PoolToken, LeaseRequest])[]): readonly LeaseRecord[] {
    const done: { readonly record: LeaseRecord; readonly isClaim: boolean }[] = [];
    try {
      for (const [token, request] of requests) {
        const parkedBefore = this.#parked.size;
        const record = this.#lease(scope, token, request);
        done.push({ record, isClaim: this.#parked.size < parkedBefore });
      }
    } catch (error) {
      for (const { record, isClaim } of done.reverse()) {
        if (isClaim) this.#unclaim(record);
        else this.#release(record);
      }
      throw error;
    }
    return done.map(({ record }) => record);
  }

  /** Gives a claim back to the parked ones. */
  #unclaim(record: LeaseRecord): void {
    const id = identity(record.owner, record.pool, record.key);
    const { registration } = record;
    record.registration = undefined;
    this.#held.delete(id);
    record.state = 'parked';
    this.#parked.set(id, record);
    registration?.[Symbol.dispose]();
    this.#trace(record, 'parked');
  }

  #entry(token: PoolToken): PoolEntry {
    const spec = this.#options.pools?.[token.id] ?? token.spec;
    const known = this.#pools.get(token.id);
    if (known !== undefined) {
      if (known.spec.kind === token.spec.kind && sameSpec(known.spec, spec)) return known;
      throw errors.CORE_ERR_POOL_CONFLICT({ details: { pool: token.id } });
    }
    const why =
      spec.kind === token.spec.kind ? checkPoolSpec(spec) : `it is of kind ${token.spec.kind}, not ${spec.kind}`;
    if (why !== undefined) throw errors.CORE_ERR_POOL_SPEC({ details: { pool: token.id, why } });
    const entry: PoolEntry = { id: token.id, spec, pool: createPool(spec) };
    this.#pools.set(token.id, entry);
    return entry;
  }

  #refusal(entry: PoolEntry, owner: string, request: LeaseRequest, refusal: Refusal): Error {
    const details = { pool: entry.id, owner, key: request.key, asked: describe(request) };
    switch (refusal.why) {
      case 'range':
        return errors.CORE_ERR_LEASE_RANGE({ plugin: owner, details: { ...details, why: refusal.because } });
      case 'taken': {
        const value = formatValue(refusal.value);
        const holder = this.#holderOf(entry, refusal.value);
        return errors.CORE_ERR_LEASE_TAKEN({ plugin: owner, details: { ...details, value, holder } });
      }
      case 'exhausted':
        return errors.CORE_ERR_POOL_EXHAUSTED({
          plugin: owner,
          details: { ...details, holders: this.#topHolders(entry) },
        });
    }
  }

  #recordsOf(entry: PoolEntry): readonly LeaseRecord[] {
    return [...this.#held.values(), ...this.#parked.values()].filter((record) => record.entry === entry);
  }

  #holderOf(entry: PoolEntry, value: PoolValues[PoolKind]): string {
    const record = this.#recordsOf(entry).find((r) => entry.pool.collides(r.value, value));
    return record === undefined
      ? 'nobody'
      : `${record.owner}/${record.key}${record.state === 'parked' ? ' (parked)' : ''}`;
  }

  #topHolders(entry: PoolEntry): string {
    const weights = new Map<string, bigint>();
    for (const { owner, value } of this.#recordsOf(entry)) {
      weights.set(owner, (weights.get(owner) ?? 0n) + entry.pool.weigh(value));
    }
    const heaviest = [...weights].sort((a, b) => Number(b[1] > a[1]) - Number(b[1] < a[1])).slice(0, TOP_HOLDERS);
    return heaviest.map(([owner, weight]) => `${owner} (${weight})`).join(', ') || 'nobody';
  }

  #trace(record: LeaseRecord, state: LeaseState): void {
    const { tracer } = this.#options;
    if (!tracer.enabled('lease')) return;
    tracer.point('lease', `${record.pool}/${record.key}`, record.owner, { state, value: formatValue(record.value) });
  }
}

function sameSpec(a: PoolSpec, b: PoolSpec): boolean {
  const values = (spec: PoolSpec): readonly unknown[] => Object.entries(spec).sort().flat();
  return values(a).join() === values(b).join();
}

function formatValue(value: PoolValues[PoolKind]): string {
  return typeof value === 'object' ? `${value.start}+${value.size}` : String(value);
}

function describe({ at, size, align }: Ask): string {
  const parts = [at === undefined ? '' : `at ${at}`, size === undefined ? '' : `size ${size}`];
  const text = [...parts, align === undefined ? '' : `align ${align}`].filter((part) => part !== '').join(', ');
  return text === '' ? 'any' : text;
}
