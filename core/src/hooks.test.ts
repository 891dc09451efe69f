import { describe, expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import { flush } from './test-programs/fake-clock.ts';
import { testHooks } from './test-programs/test-hooks.ts';
import { defineHook, type HookKind } from './tokens.ts';
import type { TraceRecord } from './tracing.ts';

const series = defineHook<[list: string[], n: number]>()('t/series', 'series', ['list', 'n']);
const parallel = defineHook<[list: string[]]>()('t/parallel', 'parallel', ['list']);
const bail = defineHook<[n: number], unknown>()('t/bail', 'bail', ['n']);
const waterfall = defineHook<[text: string, n: number], string>()('t/waterfall', 'waterfall', ['text', 'n']);
const sync = defineHook<[list: string[]]>()('t/sync', 'sync', ['list']);
const syncBail = defineHook<[n: number], unknown>()('t/sync-bail', 'sync-bail', ['n']);

const ASYNC = ['series', 'parallel', 'bail', 'waterfall'] as const satisfies readonly HookKind[];
/** Any hook, as far as taps that fail are concerned. */
const anyHook = (kind: HookKind) => defineHook<[x: string], string>()(`t/any-${kind}`, kind, ['x']);

async function failure(call: unknown): Promise<unknown> {
  return Promise.resolve(call).then(
    (value) => expect.fail(`it gave ${String(value)}`),
    (error: unknown) => error,
  );
}

describe('each kind', () => {
  test('series: one after the other; the first failure ends the call', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    plugin('a').hooks.tap(series, async (list, n) => {
      await flush();
      list.push(`a${n}`);
    });
    plugin('b').hooks.tap(series, (list, n) => void list.push(`b${n}`));
    const list: string[] = [];
    expect(await hooks.call(series, list, 1)).toBeUndefined();
    expect(list).toEqual(['a1', 'b1']);
    plugin('c').hooks.tap(series, () => Promise.reject(new Error('refused')), { stage: -1 });
    expect(isRuntimeError(await failure(hooks.call(series, list, 2)), 'CORE_ERR_TAP_FAILED')).toBe(true);
    expect(list).toEqual(['a1', 'b1']);
  });

  test('parallel: all begin at once and run to their end, and all failures are collected', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    const list: string[] = [];
    const end = Promise.withResolvers<void>();
    plugin('a').hooks.tap(parallel, async (l) => {
      l.push('a begins');
      await end.promise;
      l.push('a ends');
    });
    plugin('b').hooks.tap(parallel, (l) => {
      l.push('b fails');
      throw new Error('b');
    });
    plugin('c').hooks.tap(parallel, async (l) => {
      await end.promise;
      l.push('c fails');
      throw new Error('c');
    });
    const outcome = failure(hooks.call(parallel, list));
    expect(list).toEqual(['a begins', 'b fails']);
    end.resolve();
    const error = (await outcome) as AggregateError;
    expect(list).toEqual(['a begins', 'b fails', 'a ends', 'c fails']);
    expect(error).toBeInstanceOf(AggregateError);
    expect(error.errors.map((e) => [e.plugin, e.cause.message])).toEqual([
      ['b', 'b'],
      ['c', 'c'],
    ]);
  });

  test('parallel: one failure is given as it is', async () => {
    const { plugin } = testHooks();
    plugin('a').hooks.tap(parallel, () => Promise.reject(new Error('only')));
    plugin('b').hooks.tap(parallel, () => {});
    const error = await failure(plugin('owner').hooks.call(parallel, []));
    expect(isRuntimeError(error, 'CORE_ERR_TAP_FAILED') && error.plugin).toBe('a');
  });

  test.each([false, 0, '', 'yes', { deny: 'no' }])(
    'bail: %j is an answer, and who comes later is not asked',
    async (answer) => {
      const { plugin } = testHooks();
      const { hooks } = plugin('owner');
      let asked = 0;
      plugin('a').hooks.tap(bail, () => undefined);
      plugin('b').hooks.tap(bail, async (n) => (n === 1 ? answer : undefined));
      plugin('c').hooks.tap(bail, () => {
        asked += 1;
      });
      expect(await hooks.call(bail, 1)).toBe(answer);
      expect(asked).toBe(0);
      expect(await hooks.call(bail, 2)).toBeUndefined();
      expect(asked).toBe(1);

      const { hooks: own } = plugin('d');
      own.tap(syncBail, () => undefined);
      own.tap(syncBail, (n) => (n === 1 ? answer : undefined));
      own.tap(syncBail, () => {
        asked += 1;
      });
      expect(hooks.call(syncBail, 1)).toBe(answer);
      expect(asked).toBe(1);
      expect(hooks.call(syncBail, 2)).toBeUndefined();
      expect(asked).toBe(2);
    },
  );

  test('waterfall: each gets what the one before made of it; no opinion keeps it', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    plugin('a').hooks.tap(waterfall, async (text, n) => `${text}-a${n}`);
    plugin('b').hooks.tap(waterfall, () => undefined);
    plugin('c').hooks.tap(waterfall, (text, n) => `${text}-c${n}`);
    expect(await hooks.call(waterfall, 'x', 1)).toBe('x-a1-c1');
  });

  test('sync: all run before the call returns; a failure is thrown', () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    plugin('a').hooks.tap(sync, (list) => void list.push('a'));
    plugin('b').hooks.tap(sync, (list) => void list.push('b'));
    const list: string[] = [];
    expect(hooks.call(sync, list)).toBeUndefined();
    expect(list).toEqual(['a', 'b']);
    plugin('c').hooks.tap(sync, () => {
      throw new Error('no');
    });
    expect(() => hooks.call(sync, list)).toThrow(/tap of c on hook "t\/sync" failed/);
  });

  test('without taps gives nothing, and a waterfall what it was given', async () => {
    const { hooks } = testHooks().plugin('owner');
    expect(await hooks.call(series, [], 1)).toBeUndefined();
    expect(await hooks.call(parallel, [])).toBeUndefined();
    expect(await hooks.call(bail, 1)).toBeUndefined();
    expect(await hooks.call(waterfall, 'x', 1)).toBe('x');
    expect(hooks.call(sync, [])).toBeUndefined();
    expect(hooks.call(syncBail, 1)).toBeUndefined();
  });
});

describe('arguments', () => {
  test('may be optional', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    for (const kind of ['series', 'parallel', 'bail', 'waterfall', 'sync', 'sync-bail'] as const) {
      const hook = defineHook<[a: string, b?: number], string>()(`t/optional-${kind}`, kind, ['a', 'b']);
      const got: unknown[] = [];
      plugin('a').hooks.tap(hook, (a, b) => void got.push(a, b));
      await hooks.call(hook, 'x');
      await hooks.call(hook, 'x', 1);
      expect([kind, ...got]).toEqual([kind, 'x', undefined, 'x', 1]);
    }
  });

  test('may be none', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    for (const kind of ['series', 'parallel', 'bail', 'sync', 'sync-bail'] as const) {
      const hook = defineHook<[], string>()(`t/none-${kind}`, kind, []);
      plugin('a').hooks.tap(hook, () => 'said');
      expect(await hooks.call(hook)).toBe(kind.endsWith('bail') ? 'said' : undefined);
    }
    const unfounded = defineHook<[], string>()('t/none', 'waterfall', []);
    expect(await hooks.call(unfounded)).toBeUndefined();
    plugin('a').hooks.tap(unfounded, () => 'said');
    expect(await hooks.call(unfounded)).toBe('said');
  });

  test('have names that are never run as code', async () => {
    const { plugin } = testHooks();
    const names = ['a){process.exit(1)}(', 'b`,globalThis.pwned=1,`'] as const;
    for (const kind of [...ASYNC, 'sync', 'sync-bail'] as const) {
      const hook = defineHook<[a: number, b: number], number>()(`t/${names[0]}${kind}`, kind, names);
      plugin('a").pwned("').hooks.tap(hook, (a, b) => a + b);
      await plugin('owner').hooks.call(hook, 1, 2);
    }
    expect('pwned' in globalThis).toBe(false);
  });
});

describe('registration', () => {
  test('ends by disposal and with the scope; nothing stays', async () => {
    const { plugin, table } = testHooks();
    const { hooks, scope } = plugin('a');
    const list: string[] = [];
    const first = hooks.tap(sync, (l) => void l.push('first'));
    hooks.tap(sync, (l) => void l.push('second'));
    hooks.call(sync, list);
    first[Symbol.dispose]();
    hooks.call(sync, list);
    await scope.close();
    plugin('owner').hooks.call(sync, list);
    expect(list).toEqual(['first', 'second', 'second']);
    expect(table.report()).toEqual([{ hook: 't/sync', kind: 'sync', taps: [] }]);
    expect(() => hooks.tap(sync, () => {})).toThrow(/after it was unloaded/);
    await flush();
    expect(table.report()[0]?.taps).toEqual([]);
  });

  test('lets go of the code of a tap that was removed, so that reloads do not fill memory', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    const tapped = (hook: typeof series | typeof sync): WeakRef<object> => {
      const code = (): void => {};
      const registration = plugin('a').hooks.tap(hook, code);
      void hooks.call(hook, [], 1);
      registration[Symbol.dispose]();
      return new WeakRef(code);
    };
    const gone = [tapped(series), tapped(sync)];
    await flush();
    globalThis.gc?.();
    expect(gone.map((ref) => ref.deref())).toEqual([undefined, undefined]);
  });

  test('a tap that is removed during a call is not reached any more; one that is added, not yet', async () => {
    for (const kind of [...ASYNC, 'sync', 'sync-bail'] as const) {
      const { plugin } = testHooks();
      const hook = anyHook(kind);
      const log: string[] = [];
      const doomed = plugin('doomed');
      plugin('a').hooks.tap(
        hook,
        () => {
          log.push('a');
          if (log.length > 1) return;
          void doomed.scope.close();
          plugin('new').hooks.tap(hook, () => void log.push('new'));
        },
        { stage: -1 },
      );
      doomed.hooks.tap(hook, () => void log.push('doomed'));
      plugin('z').hooks.tap(hook, () => void log.push('z'), { stage: 1 });
      const { hooks } = plugin('owner');
      await hooks.call(hook, 'x');
      expect([kind, ...log.splice(0)]).toEqual([kind, 'a', 'z']);
      await hooks.call(hook, 'x');
      expect(log).toEqual(['a', 'new', 'z']);
    }
  });

  test('puts taps in order by stage and by before and after', async () => {
    const { plugin, table } = testHooks();
    const list: string[] = [];
    const say = (what: string) => (l: string[]) => void l.push(what);
    plugin('a').hooks.tap(sync, say('a'), { after: ['c', 'nobody'] });
    plugin('b').hooks.tap(sync, say('b'), { stage: 5, before: 'a' });
    const c = plugin('c');
    c.hooks.tap(sync, say('c1'));
    c.hooks.tap(sync, say('c2'), { stage: -1 });
    plugin('owner').hooks.call(sync, list);
    expect(list).toEqual(['c2', 'c1', 'b', 'a']);
    expect(table.report()[0]?.taps).toEqual([
      { plugin: 'c', stage: -1 },
      { plugin: 'c', stage: 0 },
      { plugin: 'b', stage: 5 },
      { plugin: 'a', stage: 0 },
    ]);
  });

  test('refuses the tap that would close a circle, with the path, and registers nothing', () => {
    const { plugin, table } = testHooks();
    const list: string[] = [];
    plugin('a').hooks.tap(sync, (l) => void l.push('a'), { before: 'b' });
    plugin('b').hooks.tap(sync, (l) => void l.push('b'), { before: 'c' });
    const c = plugin('c');
    let error: unknown;
    try {
      c.hooks.tap(sync, (l) => void l.push('c'), { before: 'a' });
    } catch (e) {
      error = e;
    }
    expect(isRuntimeError(error, 'CORE_ERR_HOOK_ORDER')).toBe(true);
    expect((error as Error).message).toMatch(/: (a → b → c → a|b → c → a → b|c → a → b → c)$/);
    expect(c.scope.labels).toEqual([]);
    expect(table.report()[0]?.taps).toHaveLength(2);
    plugin('owner').hooks.call(sync, list);
    expect(list).toEqual(['a', 'b']);
  });

  test('refuses another kind under the same id, and takes another token for the same hook', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('a');
    hooks.tap(bail, () => 'yes');
    const again = defineHook<[n: number], unknown>()('t/bail', 'bail', ['n']);
    expect(await hooks.call(again, 1)).toBe('yes');
    const wrong = defineHook<[n: number]>()('t/bail', 'series', ['n']);
    for (const use of [() => hooks.tap(wrong, () => {}), () => hooks.call(wrong, 1)]) {
      expect(use).toThrow('hook "t/bail" is of kind bail, not series');
    }
  });
});

test('a traced call is a span by the caller, and what its taps do has it as cause', async () => {
  const { plugin, tracer } = testHooks();
  const records: TraceRecord[] = [];
  plugin('a').hooks.tap(series, async (_list, n) => {
    await flush();
    tracer.point('lease', `tapped ${n}`, 'a');
  });
  const { hooks } = plugin('owner');
  const subscription = tracer.subscribe((record) => void records.push(record));
  await hooks.call(series, ['x'], 1);
  await flush();
  subscription[Symbol.dispose]();
  await hooks.call(series, ['x'], 2);
  const [start] = records;
  expect(records.map(({ kind, phase, name, plugin: who, cause }) => [kind, phase, name, who, cause])).toEqual([
    ['hook', 'start', 't/series', 'owner', 0],
    ['lease', 'point', 'tapped 1', 'a', start?.id],
    ['hook', 'end', 't/series', 'owner', 0],
  ]);
  expect(start?.detail).toEqual({ args: [['x'], 1] });
});
