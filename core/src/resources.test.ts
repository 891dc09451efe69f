import { describe, expect, test } from 'vitest';
import { isRuntimeError, type RuntimeError } from './errors.ts';
import { type ResourceAllocator, ResourceTable } from './resources.ts';
import { Scope } from './scope.ts';
import { flush } from './test-programs/fake-clock.ts';
import { definePool, type PoolSpec } from './tokens.ts';
import { type TraceRecord, Tracer } from './tracing.ts';

const cids = definePool('cid', { kind: 'id', from: 3n, to: 5n });
const memory = definePool('memory', { kind: 'count', total: 100n });
const windows = definePool('window', { kind: 'range', base: 2n ** 60n, size: 2n ** 40n, align: 4096n });
const paths = definePool('path', { kind: 'path' });

interface Plugin {
  readonly scope: Scope;
  readonly resources: ResourceAllocator;
}

function setup(pools?: Readonly<Record<string, PoolSpec>>) {
  const tracer = new Tracer('resources');
  const table = new ResourceTable({ tracer, ...(pools === undefined ? {} : { pools }) });
  const plugin = (name: string): Plugin => {
    const scope = new Scope(name);
    return { scope, resources: table.view(scope) };
  };
  const held = (): string[] => {
    return table.inspect().map(({ owner, pool, key, state, value }) => {
      const text = typeof value === 'object' ? `${value.start}+${value.size}` : value;
      return `${owner} ${pool}/${key}=${text} ${state}`;
    });
  };
  return { table, tracer, plugin, held };
}

function failure(fn: () => unknown): RuntimeError {
  try {
    fn();
  } catch (error) {
    if (isRuntimeError(error)) return error;
    throw error;
  }
  return expect.fail('it should have been refused');
}

describe('a lease', () => {
  test('is seen by all, and ends by disposal, once', () => {
    const { plugin, held, table } = setup();
    const { resources, scope } = plugin('alpha');
    const lease = resources.lease(cids, { key: 'vm:penguin' });
    expect(lease).toMatchObject({ pool: 'cid', key: 'vm:penguin', owner: 'alpha', value: 3n, state: 'held' });
    expect(held()).toEqual(['alpha cid/vm:penguin=3 held']);
    expect(plugin('beta').resources.inspect()).toEqual(table.inspect());
    lease[Symbol.dispose]();
    expect(lease.state).toBe('released');
    expect(held()).toEqual([]);
    expect(scope.labels).toEqual([]);
    // Twice released would be twice there.
    const whole = resources.lease(memory, { key: 'a', size: 100n });
    whole[Symbol.dispose]();
    whole[Symbol.dispose]();
    resources.lease(memory, { key: 'b', size: 60n });
    expect(failure(() => resources.lease(memory, { key: 'c', size: 60n })).code).toBe('CORE_ERR_POOL_EXHAUSTED');
  });

  test('ends with the plugin', async () => {
    const { plugin, held } = setup();
    const alpha = plugin('alpha');
    const beta = plugin('beta');
    const lease = alpha.resources.lease(cids, { key: 'x' });
    beta.resources.lease(cids, { key: 'x' });
    await alpha.scope.close();
    expect(held()).toEqual(['beta cid/x=4 held']);
    expect(lease.state).toBe('released');
    lease[Symbol.dispose]();
    expect(held()).toEqual(['beta cid/x=4 held']);
  });

  test('keeps numbers that no double could', () => {
    const { plugin } = setup();
    const { resources } = plugin('alpha');
    const at = 2n ** 60n + 4096n * 3n;
    expect(resources.lease(windows, { key: 'a', at, size: 1n }).value).toEqual({ start: at, size: 1n });
    expect(resources.lease(windows, { key: 'b', size: 4096n * 4n }).value.start).toBe(2n ** 60n + 4096n * 4n);
    expect(resources.lease(windows, { key: 'c', size: 1n, align: 2n ** 20n }).value.start).toBe(2n ** 60n);
  });

  test('crosses the trace with its state', () => {
    const { plugin, tracer, table } = setup();
    const records: TraceRecord[] = [];
    using _subscription = tracer.subscribe((record) => void records.push(record));
    const { resources } = plugin('alpha');
    resources.lease(cids, { key: 'a' });
    table.park('alpha');
    table.sweep('alpha');
    expect(records.map(({ kind, name, plugin: who, detail }) => [kind, name, who, detail])).toEqual(
      ['held', 'parked', 'released'].map((state) => ['lease', 'cid/a', 'alpha', { state, value: '3' }]),
    );
  });
});

describe('refusals', () => {
  test('of a key that is held, by the same plugin only, and per pool', () => {
    const { plugin } = setup();
    const { resources } = plugin('alpha');
    resources.lease(cids, { key: 'x' });
    const error = failure(() => resources.lease(cids, { key: 'x', at: 5n }));
    expect(error.code).toBe('CORE_ERR_LEASE_DUPLICATE');
    expect(error.message).toBe('alpha already holds "x" of pool "cid"');
    expect(error.plugin).toBe('alpha');
    resources.lease(memory, { key: 'x', size: 1n });
    plugin('beta').resources.lease(cids, { key: 'x', at: 5n });
  });

  test('of a value that is taken say by whom, also when that one is being reloaded', () => {
    const { plugin, table } = setup();
    plugin('alpha').resources.lease(cids, { key: 'vm:penguin', at: 4n });
    plugin('gamma').resources.lease(windows, { key: 'bar0', at: 2n ** 60n, size: 8192n });
    const { resources } = plugin('beta');
    expect(failure(() => resources.lease(cids, { key: 'x', at: 4n })).message).toBe(
      '4 of pool "cid" is held by alpha/vm:penguin',
    );
    table.park('alpha');
    const error = failure(() => resources.lease(cids, { key: 'x', at: 4n }));
    expect([error.code, error.plugin]).toEqual(['CORE_ERR_LEASE_TAKEN', 'beta']);
    expect(error.message).toBe('4 of pool "cid" is held by alpha/vm:penguin (parked)');
    const clash = failure(() => resources.lease(windows, { key: 'x', at: 2n ** 60n + 4096n, size: 1n }));
    expect(clash.message).toBe(`${2n ** 60n}+8192 of pool "window" is held by gamma/bar0`);
  });

  test('of what is exhausted name who holds most, heaviest first, three of them', () => {
    const { plugin, table } = setup();
    const amounts = { one: [5n], two: [10n, 12n], three: [9n], four: [30n], five: [5n], six: [20n] };
    for (const [name, sizes] of Object.entries(amounts)) {
      const { resources } = plugin(name);
      for (const [i, size] of sizes.entries()) resources.lease(memory, { key: `k${i}`, size });
    }
    table.park('two');
    const error = failure(() => plugin('late').resources.lease(memory, { key: 'x', size: 10n }));
    expect(error.code).toBe('CORE_ERR_POOL_EXHAUSTED');
    expect(error.message).toBe(
      'pool "memory" has nothing left for late/x (size 10); most is held by four (30), two (22), six (20)',
    );
    expect(error.retryable).toBe(true);
  });

  test('of what is exhausted name those that hold the same in the order in which they came', () => {
    const { plugin } = setup();
    for (const name of ['c', 'a', 'b']) plugin(name).resources.lease(cids, { key: 'x' });
    expect(failure(() => plugin('late').resources.lease(cids, { key: 'x' })).message).toBe(
      'pool "cid" has nothing left for late/x (any); most is held by c (1), a (1), b (1)',
    );
  });

  test('of what a pool cannot give say what was asked and why', () => {
    const { plugin, held } = setup();
    const { resources } = plugin('alpha');
    const message = (fn: () => unknown): string => {
      const error = failure(fn);
      expect(error.code).toBe('CORE_ERR_LEASE_RANGE');
      return error.message;
    };
    expect(message(() => resources.lease(cids, { key: 'x', at: 9n }))).toBe(
      'pool "cid" cannot lease at 9: its ids go from 3 to 5',
    );
    expect(message(() => resources.lease(windows, { key: 'x', at: 1n, size: 2n, align: 3n }))).toBe(
      `pool "window" cannot lease at 1, size 2, align 3: it spans ${2n ** 60n} to ${2n ** 60n + 2n ** 40n - 1n}`,
    );
    expect(message(() => resources.lease(paths, { key: 'x', at: 'run/x' }))).toMatch(/a path is absolute/);
    for (const key of ['', 'x'.repeat(257)]) {
      expect(message(() => resources.lease(cids, { key }))).toMatch(/a key has 1 to 256 characters/);
    }
    expect(held()).toEqual([]);
    expect(resources.lease(cids, { key: 'x'.repeat(256) }).value).toBe(3n);
  });

  test('of a plugin that is unloaded cost the pool nothing', async () => {
    const { plugin, held } = setup();
    const { resources, scope } = plugin('alpha');
    await scope.close();
    for (const attempt of [
      () => resources.lease(cids, { key: 'x' }),
      () => resources.leaseAll([[cids, { key: 'x' }]]),
    ]) {
      expect(failure(attempt).message).toBe('alpha registered "lease cid/x" after it was unloaded');
    }
    await flush();
    expect(held()).toEqual([]);
    const { resources: others } = plugin('beta');
    expect([1, 2, 3].map((n) => others.lease(cids, { key: `${n}` }).value)).toEqual([3n, 4n, 5n]);
  });
});

describe('pools', () => {
  test('are the same under every token of the same id and spec', () => {
    const { plugin } = setup();
    const again = definePool('cid', { to: 5n, from: 3n, kind: 'id' });
    const { resources } = plugin('alpha');
    expect(resources.lease(cids, { key: 'a' }).value).toBe(3n);
    expect(resources.lease(again, { key: 'b' }).value).toBe(4n);
  });

  test.each<PoolSpec>([{ kind: 'id', from: 3n, to: 6n }, { kind: 'count', total: 5n }, { kind: 'path' }])(
    'cannot be two things: %o',
    (spec) => {
      const { plugin } = setup();
      const { resources } = plugin('alpha');
      resources.lease(cids, { key: 'a' });
      const error = failure(() => resources.lease(definePool('cid', spec), { key: 'b', size: 1n, at: '/x' }));
      expect([error.code, error.message]).toEqual([
        'CORE_ERR_POOL_CONFLICT',
        'pool "cid" is already defined differently',
      ]);
    },
  );

  test('that are impossible say why', () => {
    const { plugin } = setup();
    const wrong = definePool('wrong', { kind: 'id', from: 5n, to: 3n });
    const error = failure(() => plugin('alpha').resources.lease(wrong, { key: 'a' }));
    expect([error.code, error.message]).toEqual([
      'CORE_ERR_POOL_SPEC',
      'pool "wrong" cannot be made: from 5 is above to 3',
    ]);
  });

  test('have the bounds of the configuration, if it gives any', () => {
    const { plugin } = setup({ cid: { kind: 'id', from: 100n, to: 100n }, memory: { kind: 'path' } });
    const { resources } = plugin('alpha');
    expect(resources.lease(cids, { key: 'a' }).value).toBe(100n);
    expect(failure(() => resources.lease(cids, { key: 'b' })).code).toBe('CORE_ERR_POOL_EXHAUSTED');
    expect(failure(() => resources.lease(memory, { key: 'a', size: 1n })).message).toBe(
      'pool "memory" cannot be made: it is of kind count, not path',
    );
    // Another kind stays another kind although the configuration speaks for both.
    const count = definePool('cid', { kind: 'count', total: 5n });
    expect(failure(() => resources.lease(count, { key: 'c', size: 1n })).code).toBe('CORE_ERR_POOL_CONFLICT');
  });
});

describe('all or nothing', () => {
  test('gives one lease for each request, in order', () => {
    const { plugin, held } = setup();
    const [cid, window, path] = plugin('alpha').resources.leaseAll([
      [cids, { key: 'vm' }],
      [windows, { key: 'vm', size: 4096n }],
      [paths, { key: 'vm', at: '/run/vm' }],
    ]);
    expect([cid.value, window.value, path.value]).toEqual([3n, { start: 2n ** 60n, size: 4096n }, '/run/vm']);
    expect(held()).toHaveLength(3);
  });

  test('leaves nothing behind when the last one is refused', () => {
    const { plugin, held } = setup();
    const { resources, scope } = plugin('alpha');
    const before = resources.lease(cids, { key: 'before' });
    for (const last of [
      [cids, { key: 'x', at: 9n }],
      [memory, { key: 'vm', size: 1n }],
      [cids, { key: 'y', at: 3n }],
    ] as const) {
      failure(() => resources.leaseAll([[memory, { key: 'vm', size: 100n }], [cids, { key: 'vm', at: 4n }], last]));
      expect(held()).toEqual(['alpha cid/before=3 held']);
      expect(scope.labels).toEqual(['lease cid/before']);
    }
    expect(before.state).toBe('held');
    expect(resources.lease(memory, { key: 'whole', size: 100n }).value).toBe(100n);
  });

  test('gives claims back, so that they can still be claimed or swept', async () => {
    const { plugin, held, table } = setup();
    const old = plugin('alpha');
    old.resources.lease(cids, { key: 'a' });
    old.resources.lease(memory, { key: 'm', size: 40n });
    table.park('alpha');
    await old.scope.close();
    const next = plugin('alpha');
    const refused = (): unknown =>
      next.resources.leaseAll([
        [cids, { key: 'a' }],
        // Another amount than before, so not a claim.
        [memory, { key: 'm', size: 50n }],
        [cids, { key: 'z', at: 99n }],
      ]);
    expect(failure(refused).code).toBe('CORE_ERR_LEASE_RANGE');
    expect(held().sort()).toEqual(['alpha cid/a=3 parked', 'alpha memory/m=40 parked']);
    expect(next.scope.labels).toEqual([]);
    expect(next.resources.lease(memory, { key: 'm', size: 40n }).value).toBe(40n);
    expect(table.sweep('alpha')).toEqual(['cid/a']);
    expect(held()).toEqual(['alpha memory/m=40 held']);
    expect(next.resources.lease(memory, { key: 'rest', size: 60n }).value).toBe(60n);
  });
});

describe('over a reload', () => {
  test('a lease is kept, claimed by its key, and only by its owner', async () => {
    const { plugin, held, table } = setup();
    const old = plugin('alpha');
    const before = old.resources.lease(cids, { key: 'vm', at: 4n });
    table.park('alpha');
    expect(before.state).toBe('parked');
    expect(old.scope.labels).toEqual([]);
    await old.scope.close();
    expect(held()).toEqual(['alpha cid/vm=4 parked']);
    expect(failure(() => plugin('beta').resources.lease(cids, { key: 'vm', at: 4n })).code).toBe(
      'CORE_ERR_LEASE_TAKEN',
    );

    const next = plugin('alpha');
    const lease = next.resources.lease(cids, { key: 'vm' });
    expect([lease.value, lease.state]).toEqual([4n, 'held']);
    expect(table.sweep('alpha')).toEqual([]);
    expect(held()).toEqual(['alpha cid/vm=4 held']);
    await next.scope.close();
    expect(held()).toEqual([]);
  });

  test('the old instance cannot release what the new one has claimed', async () => {
    const { plugin, held, table } = setup();
    const old = plugin('alpha');
    const before = old.resources.lease(cids, { key: 'vm' });
    table.park('alpha');
    before[Symbol.dispose]();
    expect(held()).toEqual(['alpha cid/vm=3 parked']);
    await old.scope.close();
    const lease = plugin('alpha').resources.lease(cids, { key: 'vm' });
    before[Symbol.dispose]();
    expect(held()).toEqual(['alpha cid/vm=3 held']);
    expect([before.state, lease.state]).toEqual(['released', 'held']);
  });

  test('what is not claimed is swept, and told', async () => {
    const { plugin, held, table } = setup();
    const old = plugin('alpha');
    for (const key of ['a', 'b', 'c']) old.resources.lease(cids, { key });
    plugin('beta').resources.lease(memory, { key: 'x', size: 1n });
    table.park('alpha');
    table.park('beta');
    await old.scope.close();
    plugin('alpha').resources.lease(cids, { key: 'b' });
    expect(table.sweep('alpha')).toEqual(['cid/a', 'cid/c']);
    expect(held().sort()).toEqual(['alpha cid/b=4 held', 'beta memory/x=1 parked']);
  });

  test('other wishes under the same key get something else; the old value is free once it is swept', async () => {
    const { plugin, held, table } = setup();
    const old = plugin('alpha');
    old.resources.lease(cids, { key: 'vm', at: 4n });
    table.park('alpha');
    await old.scope.close();
    const next = plugin('alpha');
    expect(next.resources.lease(cids, { key: 'vm', at: 5n }).value).toBe(5n);
    expect(held().sort()).toEqual(['alpha cid/vm=4 parked', 'alpha cid/vm=5 held']);
    expect(table.sweep('alpha')).toEqual(['cid/vm']);
    expect(plugin('beta').resources.lease(cids, { key: 'x', at: 4n }).value).toBe(4n);
  });

  test('an instance that failed gives back its own, and the claims go to the one that is set up in its place', async () => {
    const { plugin, held, table } = setup();
    const old = plugin('alpha');
    old.resources.lease(cids, { key: 'claimed' });
    old.resources.lease(memory, { key: 'changed', size: 40n });
    table.park('alpha');
    await old.scope.close();
    const failed = plugin('alpha');
    failed.resources.lease(cids, { key: 'claimed' });
    failed.resources.lease(memory, { key: 'changed', size: 10n });
    failed.resources.lease(memory, { key: 'own', size: 10n });
    table.park('alpha');
    await failed.scope.close();
    const restored = plugin('alpha');
    expect(restored.resources.lease(cids, { key: 'claimed' }).value).toBe(3n);
    expect(restored.resources.lease(memory, { key: 'changed', size: 40n }).value).toBe(40n);
    expect(table.sweep('alpha')).toEqual(['memory/own']);
    expect(held().sort()).toEqual(['alpha cid/claimed=3 held', 'alpha memory/changed=40 held']);
    expect(restored.resources.lease(memory, { key: 'rest', size: 60n }).value).toBe(60n);
  });
});
