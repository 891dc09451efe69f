import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import { flush } from './test-programs/fake-clock.ts';
import { recorder, testBus } from './test-programs/test-bus.ts';
import type { TraceRecord } from './tracing.ts';

describe('the past', () => {
  test.each([
    [0, []],
    [2, [4, 5]],
    [99, [2, 3, 4, 5]],
    [true, [2, 3, 4, 5]],
    [undefined, []],
  ] as const)('replay: %s gives %j of what is remembered, then what is new', (replay, past) => {
    const { bus } = testBus({ history: 4 });
    for (let n = 1; n <= 5; n++) bus.emit('bus:a', n);
    const { got, listener } = recorder<number>();
    bus.on('bus:a', listener, replay === undefined ? {} : { replay });
    expect(got).toEqual(past);
    bus.emit('bus:a', 6);
    expect(got).toEqual([...past, 6]);
  });

  test('of several topics comes in the order in which it happened', () => {
    const { bus } = testBus();
    for (const [topic, n] of [
      ['bus:b', 1],
      ['bus:a', 2],
      ['bus:b', 3],
      ['bus:c', 4],
      ['bus:a', 5],
    ] as const)
      bus.emit(topic, n);
    const all = recorder<number>();
    const lastOfEach = recorder<number>();
    bus.on('bus:*', all.listener, { replay: true });
    bus.on('bus:*', lastOfEach.listener, { replay: 1 });
    expect(all.got).toEqual([1, 2, 3, 4, 5]);
    expect(lastOfEach.got).toEqual([3, 4, 5]);
  });

  test('an event that waits to be delivered is not told twice', () => {
    const { bus } = testBus();
    const { got, listener } = recorder<number>();
    let added = false;
    bus.on('bus:a', () => {
      if (added) return;
      added = true;
      bus.emit('bus:b', 2);
      bus.on('bus:*', listener, { replay: true });
      bus.emit('bus:b', 3);
    });
    bus.emit('bus:a', 1);
    expect(got).toEqual([1, 2, 3]);
  });

  test('a listener that ends itself while it is told the past hears no more', () => {
    const { bus, scope } = testBus();
    for (const n of [1, 2, 3]) bus.emit('bus:a', n);
    const controller = new AbortController();
    const got: number[] = [];
    bus.on(
      'bus:a',
      (n) => {
        got.push(n);
        if (n === 2) controller.abort();
      },
      { replay: true, signal: controller.signal },
    );
    bus.emit('bus:a', 4);
    expect(got).toEqual([1, 2]);
    expect(scope.labels).toEqual([]);
  });

  test('a failing listener does not lose the rest of it', () => {
    const { bus, log } = testBus();
    for (const n of [1, 2, 3]) bus.emit('bus:a', n);
    const got: number[] = [];
    bus.on(
      'bus:a',
      (n) => {
        got.push(n);
        if (n === 1) throw new Error('no');
      },
      { replay: true },
    );
    expect(got).toEqual([1, 2, 3]);
    expect(log.lines).toHaveLength(1);
  });

  test('of a topic is a ring that may be resized (against an array)', () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ emit: fc.integer({ min: 1, max: 9 }) }) },
      { weight: 1, arbitrary: fc.record({ retain: fc.integer({ min: 0, max: 8 }) }) },
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 6 }), fc.array(step, { maxLength: 40, size: 'max' }), (history, steps) => {
        const { bus } = testBus({ history });
        let limit = history;
        let model: number[] = [];
        let n = 0;
        for (const change of steps) {
          if ('retain' in change) {
            limit = change.retain;
            bus.retain('bus:a', limit);
            model = limit === 0 ? [] : model.slice(-limit);
          } else {
            for (let i = 0; i < change.emit; i++) {
              n += 1;
              bus.emit('bus:a', n);
              model = [...model, n].slice(Math.max(0, model.length + 1 - limit));
            }
          }
          expect(bus.history('bus:a').map(({ data }) => data)).toEqual(model);
        }
      }),
    );
  });

  test.each([
    [Number.NaN, 0],
    [-1, 0],
    [2.5, 2],
  ])('a limit of %d means %d, and never no limit', (limit, kept) => {
    const { bus } = testBus({ history: limit });
    bus.retain('bus:b', limit);
    for (let n = 0; n < 10; n++) {
      bus.emit('bus:a', n);
      bus.emit('bus:b', n);
    }
    expect(bus.history('bus:a')).toHaveLength(kept);
    expect(bus.history('bus:b')).toHaveLength(kept);
  });

  test('holds 65,536 events at most', () => {
    const { bus } = testBus();
    bus.retain('bus:a', Number.POSITIVE_INFINITY);
    for (let n = 0; n < 65_537; n++) bus.emit('bus:a', n);
    expect(bus.history('bus:a')).toHaveLength(65_536);
    expect(bus.history('bus:a')[0]?.data).toBe(1);
  });

  test('what nobody emitted has none', () => {
    expect(testBus().bus.history('bus:a')).toEqual([]);
  });
});

describe('once', () => {
  test('gives the next event, and only that; nothing is left behind', async () => {
    const { bus, scope, clock } = testBus();
    bus.emit('bus:a', 0);
    const next = bus.once('bus:a', { timeoutMs: 100 });
    bus.emit('bus:a', 1);
    bus.emit('bus:a', 2);
    await expect(next).resolves.toBe(1);
    expect(getEventListeners(scope.signal, 'abort')).toEqual([]);
    expect(scope.labels).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  test('waits for one that is wanted', async () => {
    const { bus } = testBus();
    const wanted = bus.once('bus:a', { where: (n) => n > 2 });
    for (const n of [1, 2, 3, 4]) bus.emit('bus:a', n);
    await expect(wanted).resolves.toBe(3);
  });

  test('rejects when the time is up, and says for what it waited', async () => {
    const { bus, scope, clock } = testBus();
    const waiting = bus.once('bus:a', { timeoutMs: 50 });
    let settled = false;
    const outcome = waiting.catch((error: unknown) => {
      settled = true;
      return error;
    });
    clock.advance(49);
    await flush();
    expect(settled).toBe(false);
    clock.advance(1);
    const error = await outcome;
    expect(isRuntimeError(error, 'CORE_ERR_EVENT_TIMEOUT')).toBe(true);
    expect((error as Error).message).toBe('no event "bus:a" within 50 ms');
    expect(scope.labels).toEqual([]);
  });

  test.each(['signal', 'unloading'])('rejects with the reason of its %s, and leaves nothing behind', async (which) => {
    const { bus, scope, clock, hub } = testBus();
    const controller = new AbortController();
    const reason = new Error('enough');
    const waiting = bus.once('bus:a', { timeoutMs: 50, signal: controller.signal });
    const outcome = expect(waiting).rejects.toBe(reason);
    if (which === 'signal') controller.abort(reason);
    else await scope.close(reason);
    await outcome;
    expect(clock.pending).toBe(0);
    expect(hub.report()[0]?.listeners).toEqual({});
    // And so for one that comes too late.
    await expect(bus.once('bus:a', { signal: controller.signal })).rejects.toBe(reason);
    expect(scope.labels).toEqual([]);
  });
});

describe('over a reload', () => {
  test('the new listener gets what happened in between, once and in order, and then what is new', async () => {
    const { hub, plugin } = testBus();
    const old = plugin('gamma');
    const before = recorder<number>();
    old.bus.on('bus:a', before.listener);
    old.bus.on('bus:*', () => {});
    // No such topic yet.
    old.bus.on('other:*', () => {});
    const other = plugin('other').bus;
    other.emit('bus:a', 1);
    hub.park('gamma');
    other.emit('bus:a', 2);
    await old.scope.close();
    other.emit('bus:b', 3);
    other.emit('bus:a', 4);
    other.emit('other:d', 'first of its kind');
    expect(before.got).toEqual([1]);

    const fresh = plugin('gamma');
    const exact = recorder<number>();
    const prefix = recorder<number>();
    const unheard = recorder<number>();
    const replaying = recorder<number>();
    fresh.bus.on('bus:a', exact.listener);
    fresh.bus.on('bus:*', prefix.listener);
    fresh.bus.on('bus:b', unheard.listener);
    fresh.bus.on('bus:a', replaying.listener, { replay: 3 });
    const late = recorder<string>();
    fresh.bus.on('other:*', late.listener);
    other.emit('bus:a', 5);
    hub.unpark('gamma');
    other.emit('bus:a', 6);

    expect(exact.got).toEqual([2, 4, 5, 6]);
    expect(prefix.got).toEqual([2, 3, 4, 5, 6]);
    expect(late.got).toEqual(['first of its kind']);
    // The old instance did not listen to this.
    expect(unheard.got).toEqual([]);
    // Asked for besides, and not twice.
    expect(replaying.got).toEqual([1, 2, 4, 5, 6]);
  });

  test('the old listeners get it themselves when the reload is given up', () => {
    const { hub, plugin } = testBus();
    const { bus } = plugin('gamma');
    const exact = recorder<number>();
    const unborn = recorder<string>();
    bus.on('bus:a', exact.listener);
    bus.on('other:*', unborn.listener);
    const other = plugin('other').bus;
    hub.park('gamma');
    other.emit('bus:a', 1);
    expect(exact.got).toEqual([]);
    hub.unpark('gamma');
    other.emit('bus:a', 2);
    other.emit('other:d', 'first of its kind');
    expect(exact.got).toEqual([1, 2]);
    expect(unborn.got).toEqual(['first of its kind']);
  });

  test('a second attempt after one that failed misses nothing either', async () => {
    const { hub, plugin } = testBus();
    const old = plugin('gamma');
    old.bus.on('bus:a', () => {});
    hub.park('gamma');
    await old.scope.close();
    const other = plugin('other').bus;
    other.emit('bus:a', 1);
    const failed = plugin('gamma');
    failed.bus.on('bus:a', () => {});
    hub.park('gamma');
    await failed.scope.close();
    other.emit('bus:a', 2);
    const { got, listener } = recorder<number>();
    plugin('gamma').bus.on('bus:a', listener);
    expect(got).toEqual([1, 2]);
  });

  test('afterwards a new subscription starts with the present again', async () => {
    const { hub, plugin } = testBus();
    const old = plugin('gamma');
    old.bus.on('bus:a', () => {});
    hub.park('gamma');
    await old.scope.close();
    plugin('other').bus.emit('bus:a', 1);
    hub.unpark('gamma');
    const { got, listener } = recorder<number>();
    plugin('gamma').bus.on('bus:a', listener);
    expect(got).toEqual([]);
  });
});

describe('tracing', () => {
  test('what a listener does has the event as cause, also when it waited in the queue or was replayed', () => {
    const { bus, tracer } = testBus();
    const causes: Record<string, readonly [cause: number, id: number]> = {};
    using _subscription = tracer.subscribe(() => {});
    bus.on('bus:a', (n, { id }) => {
      causes[`a${n}`] = [tracer.cause, id];
      if (n === 1) bus.emit('bus:b', 2);
    });
    bus.on('bus:b', (n, { id }) => {
      causes[`b${n}`] = [tracer.cause, id];
    });
    bus.emit('bus:a', 1);
    bus.on(
      'bus:a',
      (n, { id }) => {
        causes[`replayed a${n}`] = [tracer.cause, id];
      },
      { replay: true },
    );
    expect(Object.keys(causes)).toEqual(['a1', 'b2', 'replayed a1']);
    for (const [cause, id] of Object.values(causes)) expect(cause).toBe(id);
  });

  test('the records of a listener carry the labels of whoever emitted, also from within another event', () => {
    const { bus, tracer } = testBus();
    const records: TraceRecord[] = [];
    using _subscription = tracer.subscribe((record) => void records.push(record));
    bus.on('bus:a', () => tracer.label({ vm: 'penguin' }, () => bus.emit('bus:b', 1)));
    bus.on('bus:b', () => void tracer.point('lease', 'in b', 'alpha'));
    bus.emit('bus:a', 1);
    expect(records.map(({ name, labels }) => [name, labels?.vm])).toEqual([
      ['bus:a', undefined],
      ['bus:b', 'penguin'],
      ['in b', 'penguin'],
    ]);
  });
});
