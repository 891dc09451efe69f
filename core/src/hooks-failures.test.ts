import { describe, expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import { flush } from './test-programs/fake-clock.ts';
import { TAP_MS, testHooks } from './test-programs/test-hooks.ts';
import { defineHook, type HookKind } from './tokens.ts';

const series = defineHook<[list: string[], n: number]>()('t/series', 'series', ['list', 'n']);
const parallel = defineHook<[list: string[]]>()('t/parallel', 'parallel', ['list']);
const bail = defineHook<[n: number], unknown>()('t/bail', 'bail', ['n']);
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

describe('failures', () => {
  test.each(ASYNC)('%s: a tap that throws at once ends the call, at whatever position', async (kind) => {
    for (const position of [0, 1, 2]) {
      const { plugin } = testHooks();
      const hook = anyHook(kind);
      for (const i of [0, 1, 2]) {
        plugin(`p${i}`).hooks.tap(
          hook,
          async () => {
            await flush();
            return undefined;
          },
          { stage: i },
        );
      }
      plugin('thrower').hooks.tap(
        hook,
        () => {
          throw new Error('at once');
        },
        { stage: position },
      );
      const error = await failure(plugin('owner').hooks.call(hook, 'x'));
      if (!isRuntimeError(error, 'CORE_ERR_TAP_FAILED')) expect.fail('another error');
      expect(error.plugin).toBe('thrower');
      expect(error.message).toBe(`the tap of thrower on hook "t/any-${kind}" failed`);
      expect((error.cause as Error).message).toBe('at once');
    }
  });

  test.each(ASYNC)('%s: failing with nothing at all is a failure too', async (kind) => {
    for (const nothing of [undefined, null, 0, '', false]) {
      for (const tap of [
        () => Promise.reject(nothing),
        () => {
          throw nothing;
        },
      ]) {
        const { plugin } = testHooks();
        plugin('a').hooks.tap(anyHook(kind), tap);
        const error = await failure(plugin('owner').hooks.call(anyHook(kind), 'x'));
        expect(isRuntimeError(error, 'CORE_ERR_TAP_FAILED')).toBe(true);
      }
    }
  });

  const fault = new Error('a bad promise');
  const bad = (then: unknown) => Object.defineProperty({}, 'then', { value: then });
  test.each<[string, object, 'fails' | 'answers']>([
    [
      'throws when it is looked at',
      Object.defineProperty({}, 'then', {
        get: () => {
          throw fault;
        },
      }),
      'fails',
    ],
    [
      'throws when it is waited for',
      bad(() => {
        throw fault;
      }),
      'fails',
    ],
    [
      'fails twice and then throws',
      bad((_: unknown, reject: (e: unknown) => void) => {
        reject(fault);
        reject(new Error('second'));
        throw new Error('third');
      }),
      'fails',
    ],
    [
      'answers twice',
      bad((resolve: (v: unknown) => void) => {
        resolve('answer');
        resolve('second');
      }),
      'answers',
    ],
  ])('a promise of its own make that %s settles the call once', async (_how, thenable, outcome) => {
    for (const kind of ASYNC) {
      const { plugin, clock } = testHooks();
      const hook = anyHook(kind);
      let later = 0;
      // Later taps begin in a callback, where a throw would be lost.
      plugin('first').hooks.tap(hook, async () => undefined);
      const own = plugin('second');
      own.hooks.tap(hook, () => thenable as Promise<string>);
      plugin('third').hooks.tap(hook, () => {
        later += 1;
      });
      const result = await Promise.resolve(plugin('owner').hooks.call(hook, 'x')).catch((e: unknown) => e);
      if (outcome === 'fails') expect((result as Error).cause).toBe(fault);
      else expect([kind, result]).toEqual([kind, kind === 'bail' || kind === 'waterfall' ? 'answer' : undefined]);
      expect([kind, later]).toEqual([kind, kind === 'parallel' || (outcome === 'answers' && kind !== 'bail') ? 1 : 0]);
      expect(own.gate.inside).toBe(0);
      clock.advance(TAP_MS * 2);
      expect(clock.pending).toBe(0);
    }
  });

  test('null is refused as an answer to bail, and is a value like any other in a waterfall', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    const nullable = defineHook<[x: string | null], null>()('t/nullable', 'waterfall', ['x']);
    plugin('a').hooks.tap(bail, (n) => (n === 1 ? null : Promise.resolve(null)));
    plugin('a').hooks.tap(syncBail, () => null);
    plugin('a').hooks.tap(nullable, () => null);
    for (const n of [1, 2]) {
      const error = await failure(hooks.call(bail, n));
      expect(isRuntimeError(error, 'CORE_ERR_HOOK_NULL') && error.plugin).toBe('a');
    }
    expect(() => hooks.call(syncBail, 1)).toThrow(/a tap of a answered null to bail hook "t\/sync-bail"/);
    expect(await hooks.call(nullable, 'x')).toBeNull();
  });

  test('a promise from a sync tap is refused, and its own failure stays unheard', async () => {
    const { plugin } = testHooks();
    const unhandled: unknown[] = [];
    const listener = (e: unknown): void => void unhandled.push(e);
    process.on('unhandledRejection', listener);
    plugin('a').hooks.tap(sync, (() => Promise.reject(new Error('unheard'))) as () => void);
    plugin('a').hooks.tap(syncBail, async () => 'yes');
    const { hooks } = plugin('owner');
    expect(() => hooks.call(sync, [])).toThrow(/a tap of a on sync hook "t\/sync" returned a promise/);
    expect(() => hooks.call(syncBail, 1)).toThrow(/returned a promise/);
    await flush();
    await flush();
    process.off('unhandledRejection', listener);
    expect(unhandled).toEqual([]);
  });

  test('of a sync tap that calls its own hook are blamed on the one that failed', () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    const inner = new Error('inner');
    const outer = new Error('outer');
    let fail: 'inner' | 'outer' = 'inner';
    const a = plugin('a');
    a.hooks.tap(syncBail, (n) => {
      if (n === 0) return undefined;
      hooks.call(syncBail, 0);
      throw outer;
    });
    plugin('b').hooks.tap(syncBail, (n) => {
      if (n === 0 && fail === 'inner') throw inner;
    });
    const chain = (): unknown[] => {
      try {
        hooks.call(syncBail, 1);
      } catch (error) {
        const path: unknown[] = [];
        for (let e = error; e instanceof Error; e = e.cause) path.push(isRuntimeError(e) ? e.plugin : e);
        return path;
      }
      return [];
    };
    expect(chain()).toEqual(['a', 'b', inner]);
    fail = 'outer';
    expect(chain()).toEqual(['a', outer]);
  });

  test('a tap that refuses on purpose keeps its own coded error as the cause', async () => {
    const { plugin } = testHooks();
    const { hooks } = plugin('owner');
    plugin('a').hooks.tap(bail, () => hooks.call(syncBail, 1));
    plugin('b').hooks.tap(syncBail, () => null);
    const error = await failure(hooks.call(bail, 1));
    expect(isRuntimeError(error, 'CORE_ERR_TAP_FAILED') && error.plugin).toBe('a');
    expect(isRuntimeError((error as Error).cause, 'CORE_ERR_HOOK_NULL')).toBe(true);
  });
});

describe('deadlines', () => {
  test.each(ASYNC)('%s: a tap that never answers ends the call, and is named', async (kind) => {
    const { plugin, clock } = testHooks();
    const hook = anyHook(kind);
    const slow = plugin('slow');
    slow.hooks.tap(hook, () => new Promise(() => {}));
    const outcome = failure(plugin('owner').hooks.call(hook, 'x'));
    await flush();
    expect(slow.gate.inside).toBe(1);
    clock.advance(TAP_MS * 1.25);
    const error = await outcome;
    if (!isRuntimeError(error, 'CORE_ERR_TAP_TIMEOUT')) expect.fail('another error');
    expect(error.plugin).toBe('slow');
    expect(error.message).toBe(`the tap of slow on hook "t/any-${kind}" did not answer within ${TAP_MS} ms`);
    expect(slow.gate.inside).toBe(0);
  });

  test('are those of each tap, and begin when it does', async () => {
    const { plugin, clock } = testHooks();
    const answers: PromiseWithResolvers<void>[] = [];
    const answer = (): Promise<void> => {
      const resolvers = Promise.withResolvers<void>();
      answers.push(resolvers);
      return resolvers.promise;
    };
    plugin('a').hooks.tap(series, answer);
    plugin('b').hooks.tap(series, answer, { timeoutMs: 400 });
    plugin('c').hooks.tap(series, answer, { timeoutMs: 20 });
    const outcome = failure(plugin('owner').hooks.call(series, [], 1));
    for (const [ms, answered] of [
      [90, 1],
      [390, 2],
    ] as const) {
      clock.advance(ms);
      answers[answered - 1]?.resolve();
      await flush();
      expect(answers).toHaveLength(answered + 1);
    }
    clock.advance(25);
    const error = await outcome;
    expect(isRuntimeError(error, 'CORE_ERR_TAP_TIMEOUT') && [error.plugin, error.details.ms]).toEqual(['c', 20]);
  });

  test('a late answer, or failure, is no longer of interest', async () => {
    for (const late of ['answer', 'failure']) {
      const { plugin, clock } = testHooks();
      const slow = plugin('slow');
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      let asked = 0;
      slow.hooks.tap(bail, () => promise);
      plugin('next').hooks.tap(bail, () => {
        asked += 1;
      });
      const outcome = failure(plugin('owner').hooks.call(bail, 1));
      clock.advance(TAP_MS * 1.25);
      await outcome;
      if (late === 'answer') resolve('late');
      else reject(new Error('late'));
      await flush();
      expect(asked).toBe(0);
      expect(slow.gate.inside).toBe(0);
    }
  });

  test('leave no timer behind once every tap has answered', async () => {
    const { plugin, clock } = testHooks();
    plugin('a').hooks.tap(series, async () => {});
    for (let i = 0; i < 100; i++) await plugin('owner').hooks.call(series, [], i);
    clock.advance(TAP_MS);
    expect(clock.pending).toBe(0);
  });

  test('of a parallel hook are collected with the other failures', async () => {
    const { plugin, clock } = testHooks();
    const list: string[] = [];
    plugin('hangs').hooks.tap(parallel, () => new Promise(() => {}));
    plugin('fails').hooks.tap(parallel, () => Promise.reject(new Error('no')));
    plugin('works').hooks.tap(parallel, async (l) => void l.push('works'));
    const outcome = failure(plugin('owner').hooks.call(parallel, list));
    await flush();
    clock.advance(TAP_MS * 1.25);
    const { errors } = (await outcome) as AggregateError;
    expect(errors.map((e) => [e.plugin, e.code])).toEqual([
      ['fails', 'CORE_ERR_TAP_FAILED'],
      ['hangs', 'CORE_ERR_TAP_TIMEOUT'],
    ]);
    expect(list).toEqual(['works']);
  });
});
