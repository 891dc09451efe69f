// Any sequence of leases, releases, unloads and reloads by several plugins, against a plain list.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import type { Ask } from './pools.ts';
import { type Lease, type LeaseRequest, type ResourceAllocator, ResourceTable } from './resources.ts';
import { Scope } from './scope.ts';
import { PoolModel } from './test-programs/pool-model.ts';
import { definePool, type PoolToken } from './tokens.ts';
import { Tracer } from './tracing.ts';

const FAR = 2n ** 62n;
const POOLS = [
  definePool('id', { kind: 'id', from: FAR, to: FAR + 4n }),
  definePool('range', { kind: 'range', base: FAR, size: 16n, align: 2n }),
  definePool('path', { kind: 'path' }),
  definePool('count', { kind: 'count', total: 10n }),
] as const;
type AnyPool = (typeof POOLS)[number];
const OWNERS = ['a', 'b'] as const;
type Owner = (typeof OWNERS)[number];

type Wish = readonly [pool: AnyPool, request: LeaseRequest];
type Step =
  | { readonly do: 'lease'; readonly owner: Owner; readonly wish: Wish }
  | { readonly do: 'leaseAll'; readonly owner: Owner; readonly wishes: readonly Wish[] }
  | { readonly do: 'dispose'; readonly which: number }
  | { readonly do: 'unload' | 'reload' | 'sweep'; readonly owner: Owner };

interface Entry {
  readonly owner: string;
  readonly pool: string;
  readonly key: string;
  readonly value: unknown;
  state: 'held' | 'parked';
}

class Model {
  readonly #pools = new Map(POOLS.map(({ id, spec }) => [id, new PoolModel(spec)]));
  list: Entry[] = [];

  /** @returns the entry, or the code of the refusal */
  lease(owner: string, [{ id: pool }, request]: Wish): Entry | string {
    const { key } = request;
    const same = this.list.filter((entry) => entry.owner === owner && entry.pool === pool && entry.key === key);
    if (same.some(({ state }) => state === 'held')) return 'CORE_ERR_LEASE_DUPLICATE';
    const claim = same.find(({ value }) => fulfils(pool, value, request));
    if (claim !== undefined) {
      claim.state = 'held';
      return claim;
    }
    const taken = this.#pool(pool).take(request);
    if ('why' in taken) {
      const codes = { exhausted: 'POOL_EXHAUSTED', taken: 'LEASE_TAKEN', range: 'LEASE_RANGE' };
      return `CORE_ERR_${codes[taken.why]}`;
    }
    const entry: Entry = { owner, pool, key, value: taken.value, state: 'held' };
    this.list.push(entry);
    return entry;
  }

  leaseAll(owner: string, wishes: readonly Wish[]): readonly Entry[] | string {
    const parked = this.list.filter(({ state }) => state === 'parked');
    const done: Entry[] = [];
    for (const wish of wishes) {
      const entry = this.lease(owner, wish);
      if (typeof entry !== 'string') {
        done.push(entry);
        continue;
      }
      for (const undone of done) {
        if (parked.includes(undone)) undone.state = 'parked';
        else this.free(undone);
      }
      return entry;
    }
    return done;
  }

  free(entry: Entry): void {
    if (!this.list.includes(entry)) return;
    this.list = this.list.filter((other) => other !== entry);
    this.#pool(entry.pool).release(entry.value as never);
  }

  park(owner: string): void {
    const isSame = (a: Entry, b: Entry): boolean => a.pool === b.pool && a.key === b.key;
    const own = this.list.filter((entry) => entry.owner === owner);
    const original = own.filter(({ state }) => state === 'parked');
    for (const entry of own.filter(({ state }) => state === 'held')) {
      if (original.some((other) => isSame(other, entry))) this.free(entry);
      else entry.state = 'parked';
    }
  }

  sweep(owner: string): void {
    for (const entry of this.list.filter((e) => e.owner === owner && e.state === 'parked')) this.free(entry);
  }

  unload(owner: string): void {
    for (const entry of this.list.filter((e) => e.owner === owner && e.state === 'held')) this.free(entry);
  }

  #pool(id: string): PoolModel {
    return this.#pools.get(id as AnyPool['id']) ?? expect.fail('no such pool');
  }
}

function fulfils(pool: string, value: unknown, { at, size, align }: Ask): boolean {
  if (pool === 'range') {
    const range = value as { start: bigint; size: bigint };
    return (at ?? range.start) === range.start && size === range.size && range.start % (align ?? 1n) === 0n;
  }
  return pool === 'count' ? value === size : (at ?? value) === value;
}

const wish: fc.Arbitrary<Wish> = fc.constantFrom<AnyPool[]>(...POOLS).chain((pool) => {
  const key = fc.constantFrom('x', 'y');
  const near = fc.integer({ min: -1, max: 16 }).map((n) => FAR + BigInt(n));
  const size = fc.constantFrom(2n, 2n, 3n, 6n);
  const align = fc.constantFrom(1n, 2n, 4n);
  const request: fc.Arbitrary<LeaseRequest> = {
    id: fc.record({ key, at: near }, { requiredKeys: ['key'] }),
    range: fc.record({ key, size, at: near, align }, { requiredKeys: ['key', 'size'] }),
    path: fc.record({ key, at: fc.constantFrom('/a', '/b') }),
    count: fc.record({ key, size }),
  }[pool.spec.kind];
  return request.map((r): Wish => [pool, r]);
});
const owner = fc.constantFrom(...OWNERS);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('lease' as const), owner, wish }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('leaseAll' as const),
      owner,
      wishes: fc.array(wish, { maxLength: 4, size: 'max' }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('dispose' as const), which: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unload' as const), owner }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('reload' as const), owner }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('sweep' as const), owner }) },
);

interface Instance {
  scope: Scope;
  resources: ResourceAllocator;
}

test('every pool is as full as the list says, whatever happens', async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), async (steps) => {
      const table = new ResourceTable({ tracer: new Tracer('model') });
      const model = new Model();
      const instance = (name: string): Instance => {
        const scope = new Scope(name);
        return { scope, resources: table.view(scope) };
      };
      const plugins = new Map<Owner, Instance>(OWNERS.map((name) => [name, instance(name)]));
      /** Every lease there ever was, and what it stood for. */
      const leases: { readonly lease: Lease; readonly entry: Entry; stale: boolean }[] = [];

      const compare = (expected: Entry | string | readonly Entry[], attempt: () => Lease | readonly Lease[]): void => {
        let got: Lease | readonly Lease[];
        try {
          got = attempt();
        } catch (error) {
          seen.add(String(expected));
          expect(isRuntimeError(error) && error.code).toBe(expected);
          return;
        }
        if (typeof expected === 'string') expect.fail(`${expected} was due`);
        const entries = [expected].flat();
        const list = [got].flat();
        expect(list.map(({ value }) => value)).toEqual(entries.map(({ value }) => value));
        for (const [i, entry] of entries.entries()) leases.push({ lease: list[i] as Lease, entry, stale: false });
      };

      for (const action of steps) {
        if (action.do === 'dispose') {
          const item = leases[action.which % (leases.length || 1)];
          item?.lease[Symbol.dispose]();
          if (item !== undefined && !item.stale && item.entry.state === 'held') model.free(item.entry);
        } else {
          const plugin = plugins.get(action.owner) as Instance;
          if (action.do === 'lease') {
            const [pool, request] = action.wish;
            compare(model.lease(action.owner, action.wish), () =>
              plugin.resources.lease(pool as PoolToken<'id'>, request),
            );
          } else if (action.do === 'leaseAll') {
            compare(model.leaseAll(action.owner, action.wishes), () => plugin.resources.leaseAll(action.wishes));
          } else if (action.do === 'sweep') {
            model.sweep(action.owner);
            table.sweep(action.owner);
          } else {
            if (action.do === 'reload') {
              model.park(action.owner);
              table.park(action.owner);
            }
            model.unload(action.owner);
            await plugin.scope.close();
            plugins.set(action.owner, instance(action.owner));
            for (const item of leases) if (item.entry.owner === action.owner) item.stale = true;
          }
        }
        const inOrder = (list: readonly Entry[]): string[] =>
          list.map((e) => JSON.stringify(e, (_, v) => (typeof v === 'bigint' ? `${v}n` : v))).sort();
        const { list } = model;
        const plain = table
          .inspect()
          .map(({ owner: o, pool, key, value, state }) => ({ owner: o, pool, key, value, state }));
        expect(inOrder(plain)).toEqual(inOrder(list));
        expect(inOrder(table.view(new Scope('x')).inspect())).toHaveLength(list.length);
      }
    }),
    { numRuns: 500 },
  );
  expect([...seen].sort()).toEqual([
    'CORE_ERR_LEASE_DUPLICATE',
    'CORE_ERR_LEASE_RANGE',
    'CORE_ERR_LEASE_TAKEN',
    'CORE_ERR_POOL_EXHAUSTED',
  ]);
});
