import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import type { EventMap, EventName } from './events.ts';
import { flush } from './test-programs/fake-clock.ts';
import { recorder, testBus } from './test-programs/test-bus.ts';

describe('delivery', () => {
  test('calls each listener with the payload and the event, before emit returns, in order of registration', () => {
    const { bus, plugin } = testBus();
    const log: unknown[] = [];
    bus.on('bus:a', (data, event) => void log.push(['first', data, event.topic, event.data, event.source]));
    plugin('beta').bus.on('bus:a', (data) => void log.push(['second', data]));
    plugin('gamma').bus.emit('bus:a', 7);
    expect(log).toEqual([
      ['first', 7, 'bus:a', 7, 'gamma'],
      ['second', 7],
    ]);
  });

  test('numbers events upwards, over all topics', () => {
    const { bus } = testBus();
    const ids: number[] = [];
    bus.on('*', (_, event) => void ids.push(event.id));
    for (const topic of ['bus:a', 'bus:b', 'bus:a'] as const) bus.emit(topic, 0);
    expect(ids).toHaveLength(3);
    expect(ids.toSorted((a, b) => a - b)).toEqual(ids);
    expect(new Set(ids).size).toBe(3);
  });

  test('a topic without listeners harms nobody', () => {
    const { bus } = testBus();
    expect(() => bus.emit('bus:a', 1)).not.toThrow();
  });
});

describe('isolation', () => {
  const failure = new Error('broken listener');
  // biome-ignore lint/suspicious/noThenProperty: a plugin may bring promises of its own.
  const thenable = { then: (_: unknown, reject: (error: unknown) => void) => reject(failure) };
  const unthenable = Object.defineProperty({}, 'then', {
    get: () => {
      throw failure;
    },
  });
  test.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw failure;
      },
    ],
    ['rejects', () => Promise.reject(failure)],
    ['returns a thenable that rejects', () => thenable],
    ['returns an object that throws when it is looked at', () => unthenable],
  ])('a listener that %s is reported, and nobody else notices', async (_how, misbehave) => {
    const { bus, plugin, log } = testBus();
    const { got, listener } = recorder<number>();
    const reports = recorder<EventMap['core:listener-error']>();
    plugin('broken').bus.on('bus:a', misbehave as () => void);
    bus.on('bus:a', listener);
    bus.on('core:listener-error', reports.listener);

    bus.emit('bus:a', 1);
    bus.emit('bus:a', 2);
    await flush();

    expect(got).toEqual([1, 2]);
    const report = { event: 'bus:a', plugin: 'broken', error: failure };
    expect(reports.got).toEqual([report, report]);
    expect(log.lines.map(({ level, fields }) => [level, fields.plugin, fields.event, fields.err])).toEqual([
      ['error', 'broken', 'bus:a', failure],
      ['error', 'broken', 'bus:a', failure],
    ]);
  });

  test.each(['core:listener-error', 'core:*', '*'] as const)(
    'a listener of %s that fails itself starts no loop',
    async (pattern) => {
      for (const misbehave of [() => expect.fail('no'), () => Promise.reject(new Error('no'))]) {
        const { bus, log, hub } = testBus();
        bus.on(pattern, misbehave as () => void);
        bus.on('bus:a', () => expect.fail('no'));
        bus.emit('bus:a', 1);
        await flush();
        const emitted = hub.report().find(({ topic }) => topic === 'core:listener-error')?.emitted;
        // '*' fails for bus:a too.
        const failures = pattern === '*' ? 2 : 1;
        expect(emitted).toBe(failures);
        expect(log.lines).toHaveLength(failures * 2);
      }
    },
  );
});

describe('patterns', () => {
  test('a prefix and * stands for topics that exist and for those to come', () => {
    const { bus } = testBus();
    const { got, listener } = recorder<number>();
    bus.emit('bus:a', 0);
    bus.on('bus:*', listener);
    bus.emit('bus:a', 1);
    bus.emit('bus:b', 2);
    bus.emit('other:d', 'not this');
    bus.emit('bus:c', 3);
    expect(got).toEqual([1, 2, 3]);
  });

  test('listeners of patterns and of topics are called in the order of registration', () => {
    const { bus } = testBus();
    const log: string[] = [];
    bus.on('bus:a', () => void log.push('1 exact'));
    bus.on('bus:*', () => void log.push('2 prefix'));
    bus.on('bus:b', () => void log.push('3 exact'));
    bus.on('*', () => void log.push('4 all'));
    bus.on('bus:a', () => void log.push('5 exact'));
    bus.emit('bus:a', 0);
    expect(log.splice(0)).toEqual(['1 exact', '2 prefix', '4 all', '5 exact']);
    bus.emit('bus:b', 0);
    expect(log.splice(0)).toEqual(['2 prefix', '3 exact', '4 all']);
    // A topic made after all of them.
    bus.emit('bus:c', 0);
    expect(log.splice(0)).toEqual(['2 prefix', '4 all']);
  });

  test('ends for all topics at once', () => {
    const { bus, hub } = testBus();
    const { got, listener } = recorder<unknown>();
    bus.emit('bus:a', 0);
    const subscription = bus.on('*', listener);
    bus.emit('bus:b', 1);
    subscription[Symbol.dispose]();
    for (const topic of ['bus:a', 'bus:b', 'bus:c'] as const) bus.emit(topic, 2);
    expect(got).toEqual([1]);
    expect(hub.report().flatMap(({ listeners }) => Object.keys(listeners))).toEqual([]);
  });
});

describe('during a delivery', () => {
  test('an event emitted by a listener is delivered after the current one, to everybody', () => {
    const { bus } = testBus();
    const log: string[] = [];
    bus.on('bus:a', (n) => {
      log.push(`first a${n}`);
      if (n === 1) bus.emit('bus:b', 2);
      log.push('first is done');
    });
    bus.on('bus:b', (n) => void log.push(`first b${n}`));
    bus.on('bus:*', (n, { topic }) => void log.push(`second ${topic.at(-1)}${n}`));
    bus.emit('bus:a', 1);
    expect(log).toEqual(['first a1', 'first is done', 'second a1', 'first b2', 'second b2']);
  });

  test('who is removed is not called any more, not even in this round', () => {
    const { bus, plugin } = testBus();
    const { got, listener } = recorder<number>();
    const doomed = plugin('doomed');
    bus.on('bus:a', () => void doomed.scope.close());
    doomed.bus.on('bus:a', listener);
    const rest = recorder<number>();
    bus.on('bus:a', rest.listener);
    bus.emit('bus:a', 1);
    bus.emit('bus:a', 2);
    expect(got).toEqual([]);
    expect(rest.got).toEqual([1, 2]);
  });

  test('a listener may remove itself without its neighbour being passed over', () => {
    const { bus } = testBus();
    const { got, listener } = recorder<number>();
    const own: Disposable = bus.on('bus:a', () => own[Symbol.dispose]());
    bus.on('bus:a', listener);
    bus.emit('bus:a', 1);
    expect(got).toEqual([1]);
  });

  test('who is added is called from the next event on, and not for one that already waits', () => {
    const { bus } = testBus();
    const { got, listener } = recorder<number>();
    let added = false;
    bus.on('bus:a', () => {
      if (added) return;
      added = true;
      bus.emit('bus:a', 2);
      bus.on('bus:a', listener);
      bus.emit('bus:a', 3);
    });
    bus.emit('bus:a', 1);
    expect(got).toEqual([3]);
  });

  test('a listener that is told the past hears what it emits meanwhile afterwards, once', () => {
    const { bus } = testBus();
    for (const n of [1, 2, 3]) bus.emit('bus:a', n);
    const got: number[] = [];
    const everybody = recorder<number>();
    bus.on('bus:a', everybody.listener);
    bus.on(
      'bus:a',
      (n) => {
        got.push(n);
        if (n < 3) bus.emit('bus:a', n * 10);
      },
      { replay: true },
    );
    expect(got).toEqual([1, 2, 3, 10, 20]);
    expect(everybody.got).toEqual([10, 20]);
  });

  test('circles end after a hundred thousand events, with the topics named, and the bus goes on', () => {
    const { bus, log } = testBus();
    let count = 0;
    const ping = bus.on('bus:a', (n) => {
      count += 1;
      bus.emit('bus:b', n);
    });
    bus.on('bus:b', (n) => {
      count += 1;
      bus.emit('bus:a', n);
    });
    bus.emit('bus:a', 1);
    expect(count).toBe(100_001);
    const [line] = log.lines;
    expect(isRuntimeError(line?.fields.err, 'CORE_ERR_EVENT_CASCADE')).toBe(true);
    expect(line?.message).toMatch(/bus:[ab], bus:[ab]/);
    ping[Symbol.dispose]();
    const { got, listener } = recorder<number>();
    bus.on('bus:a', listener);
    bus.emit('bus:a', 5);
    expect(got).toEqual([5]);
  });
});

describe('ending', () => {
  test('disposing, aborting and unloading all end a subscription, and free what it held', async () => {
    const { bus, hub, scope, plugin } = testBus();
    const controller = new AbortController();
    const { got, listener } = recorder<number>();
    const disposed = bus.on('bus:a', listener);
    bus.on('bus:b', listener, { signal: controller.signal })[Symbol.dispose]();
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    bus.on('bus:a', listener, { signal: controller.signal });
    const unloaded = plugin('beta');
    unloaded.bus.on('bus:a', listener);
    bus.emit('bus:a', 1);
    expect(got.splice(0)).toEqual([1, 1, 1]);
    disposed[Symbol.dispose]();
    bus.emit('bus:a', 2);
    expect(got.splice(0)).toEqual([2, 2]);
    controller.abort();
    bus.emit('bus:a', 3);
    expect(got.splice(0)).toEqual([3]);
    await unloaded.scope.close();
    bus.emit('bus:a', 4);
    expect(got).toEqual([]);
    expect(scope.labels).toEqual([]);
    expect(hub.report()[0]).toEqual({ topic: 'bus:a', listeners: {}, emitted: 4 });
  });

  test('a signal that is aborted already refuses the subscription with its reason', () => {
    const { bus, scope } = testBus();
    const reason = new Error('over');
    expect(() => bus.on('bus:a', () => {}, { signal: AbortSignal.abort(reason) })).toThrow(reason);
    expect(scope.labels).toEqual([]);
  });

  test.each([{}, { signal: new AbortController().signal }])(
    'a plugin that is unloaded can subscribe no more, and is never called',
    async (options) => {
      const { bus, hub, scope } = testBus();
      await scope.close();
      const { got, listener } = recorder<number>();
      expect(() => bus.on('bus:a', listener, options)).toThrow(/alpha registered "listener bus:a"/);
      expect(() => bus.on('bus:*', listener, options)).toThrow(/unloaded/);
      hub.emit('core', 'bus:a', 1);
      await flush();
      hub.emit('core', 'bus:a', 2);
      expect(got).toEqual([]);
      expect(hub.report()[0]?.listeners).toEqual({});
    },
  );
});

describe('limits', () => {
  test('too many listeners are reported once per topic, with who registers them and where', () => {
    const { plugin, log } = testBus({ listenerLimit: 4 });
    const leaky = plugin('leaky');
    const innocent = plugin('innocent');
    const leak = (topic: 'bus:a' | 'bus:b'): void => void leaky.bus.on(topic, () => {});
    for (let i = 0; i < 3; i++) leak('bus:a');
    innocent.bus.on('bus:a', () => {});
    expect(log.lines).toEqual([]);
    // Over the limit, but not by the fault of this one.
    innocent.bus.on('bus:a', () => {});
    leak('bus:a');
    leak('bus:a');
    expect(log.lines).toHaveLength(1);
    const error = log.lines[0]?.fields.err;
    if (!isRuntimeError(error, 'CORE_ERR_EVENT_LEAK')) expect.fail('another error');
    expect(error.plugin).toBe('leaky');
    expect(error.message).toBe('"bus:a" has 6 listeners, 4 of them by leaky');
    expect(error.remedy).toMatch(/registered at: at leak .*events\.test\.ts:\d+/);
    for (let i = 0; i < 5; i++) leak('bus:b');
    expect(log.lines).toHaveLength(2);
  });

  test('when all hold the same, whoever exceeds the limit is named', () => {
    const { plugin, log } = testBus({ listenerLimit: 2 });
    for (const name of ['one', 'two', 'three']) plugin(name).bus.on('bus:a', () => {});
    expect(log.lines.map(({ message }) => message)).toEqual([
      expect.stringContaining('"bus:a" has 3 listeners, 1 of them by three'),
    ]);
  });

  test('patterns count for each topic they stand for', () => {
    const { bus, log } = testBus({ listenerLimit: 2 });
    bus.emit('bus:a', 1);
    for (let i = 0; i < 3; i++) bus.on('bus:*', () => {});
    expect(log.lines.map(({ fields }) => fields.event)).toEqual(['bus:a']);
  });

  test('a topic for each thing fills no memory: from the 16,385th on they are dropped and logged', () => {
    const { bus, log } = testBus({ history: 0 });
    let count = 0;
    bus.on('flood:*' as 'bus:*', () => {
      count += 1;
    });
    for (let i = 0; i < 16_386; i++) bus.emit(`flood:${i}` as EventName, i);
    expect(count).toBe(16_384);
    expect(log.lines.map(({ fields }) => isRuntimeError(fields.err, 'CORE_ERR_EVENT_TOPICS'))).toEqual([true, true]);
    // Those that exist go on.
    bus.emit('flood:7' as EventName, 7);
    expect(count).toBe(16_385);
  });
});
