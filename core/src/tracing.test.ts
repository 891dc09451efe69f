import { describe, expect, test } from 'vitest';
import { flush } from './test-programs/fake-clock.ts';
import { TRACE_KINDS, type TraceRecord, Tracer, traceChannels } from './tracing.ts';

function recording(name = 'tracing') {
  const tracer = new Tracer(name);
  const records: TraceRecord[] = [];
  const subscription = tracer.subscribe((record) => void records.push(record));
  return { tracer, records, subscription, [Symbol.dispose]: () => subscription[Symbol.dispose]() };
}

const brief = (records: readonly TraceRecord[]): string[] => {
  return records.map(({ kind, phase, name, cause }) => `${kind} ${phase} ${name} by ${cause}`);
};

describe('points', () => {
  test('say what, who and when, with a number that grows', () => {
    using kit = recording();
    const before = Date.now();
    const first = kit.tracer.point('event', 'vm:started', 'vmm', { vm: 1 });
    const second = kit.tracer.point('lease', 'cid/x', 'vmm');
    expect(second).toBeGreaterThan(first);
    expect(kit.tracer.point('event', 'own', 'vmm', undefined, 77)).toBe(77);
    const [record] = kit.records;
    expect(record).toMatchObject({ runtime: 'tracing', id: first, cause: 0, kind: 'event', phase: 'point' });
    expect(record).toMatchObject({ name: 'vm:started', plugin: 'vmm', detail: { vm: 1 } });
    // Two clocks, so a little apart.
    expect(Math.abs((record?.at ?? 0) - before)).toBeLessThan(60_000);
    expect(record && 'labels' in record).toBe(false);
  });

  test('of all kinds reach a subscriber, until it goes', () => {
    const { tracer, records, subscription } = recording();
    for (const kind of TRACE_KINDS) tracer.point(kind, kind, 'p');
    expect(records.map(({ kind }) => kind)).toEqual(TRACE_KINDS);
    subscription[Symbol.dispose]();
    for (const kind of TRACE_KINDS) {
      tracer.point(kind, kind, 'p');
      expect(tracer.enabled(kind)).toBe(false);
    }
    expect(records).toHaveLength(TRACE_KINDS.length);
  });
});

describe('spans', () => {
  test('enclose what happens in them, however deep and however late', async () => {
    using kit = recording();
    const { tracer, records } = kit;
    const result = await tracer.span(
      'service',
      'outer',
      'a',
      async () => {
        await flush();
        tracer.point('lease', 'after an await', 'a');
        const inner = tracer.span('hook', 'inner', 'b', () => {
          tracer.point('lease', 'deep', 'b');
          return 7;
        });
        await new Promise<void>((resolve) => {
          setTimeout(() => {
            tracer.point('lease', 'in a timer', 'a');
            resolve();
          }, 0);
        });
        return inner;
      },
      { detail: true },
    );
    expect(result).toBe(7);
    await flush();
    const outer = records[0]?.id;
    const inner = records[2]?.id;
    expect(brief(records)).toEqual([
      'service start outer by 0',
      `lease point after an await by ${outer}`,
      `hook start inner by ${outer}`,
      `lease point deep by ${inner}`,
      `hook end inner by ${outer}`,
      `lease point in a timer by ${outer}`,
      'service end outer by 0',
    ]);
    expect(records[0]?.detail).toEqual({ detail: true });
    expect(records.at(-1)).toMatchObject({ id: outer, ms: expect.any(Number) });
    expect(tracer.cause).toBe(0);
  });

  test('that run at the same time do not mix', async () => {
    using kit = recording();
    const { tracer } = kit;
    const seen = await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        tracer.span('service', name, name, async () => {
          const before = tracer.cause;
          for (let i = 0; i < 3; i++) await flush();
          return [before, tracer.cause];
        }),
      ),
    );
    for (const [before, after] of seen) expect(after).toBe(before);
    expect(new Set(seen.flat()).size).toBe(3);
  });

  test('end with the error, which is thrown on as it is', async () => {
    using kit = recording();
    const { tracer, records } = kit;
    const thrown = new Error('at once');
    const rejected = new Error('later');
    expect(() =>
      tracer.span('hook', 'sync', 'a', () => {
        throw thrown;
      }),
    ).toThrow(thrown);
    await expect(tracer.span('hook', 'async', 'a', () => Promise.reject(rejected))).rejects.toBe(rejected);
    await flush();
    expect(records.map(({ name, phase, error }) => [name, phase, error?.message])).toEqual([
      ['sync', 'start', undefined],
      ['sync', 'error', 'at once'],
      ['async', 'start', undefined],
      ['async', 'error', 'later'],
    ]);
  });

  test('that end with something that is no error still end', async () => {
    using kit = recording();
    const odd: unknown = Object.create(null);
    await expect(kit.tracer.span('hook', 'odd', 'a', () => Promise.reject(odd))).rejects.toBe(odd);
    await flush();
    expect(kit.records.at(-1)).toMatchObject({ phase: 'error', error: { message: '[object Object]' } });
  });

  test('without anybody who looks are nothing at all', () => {
    const tracer = new Tracer('silent');
    const before = tracer.nextId();
    const fn = (): number => tracer.cause;
    expect(tracer.span('hook', 'x', 'a', fn)).toBe(0);
    expect(tracer.nextId()).toBe(before + 1);
    expect(TRACE_KINDS.some((kind) => traceChannels[kind].hasSubscribers)).toBe(false);
  });
});

describe('labels', () => {
  test('are on everything inside, also after an await, inner ones over outer ones', async () => {
    using kit = recording();
    const { tracer, records } = kit;
    await tracer.label({ vm: 'penguin', user: 'ada' }, () =>
      tracer.span('service', 'start', 'a', async () => {
        await flush();
        tracer.point('lease', 'one', 'a');
        tracer.label({ vm: 'other' }, () => tracer.point('lease', 'two', 'a'));
        tracer.caused(5, () => tracer.point('lease', 'three', 'a'));
      }),
    );
    await flush();
    tracer.point('lease', 'outside', 'a');
    const id = records[0]?.id;
    const labels = { vm: 'penguin', user: 'ada' };
    expect(records.map((record) => [`${record.name} ${record.phase}`, record.labels, record.cause])).toEqual([
      ['start start', labels, 0],
      ['one point', labels, id],
      ['two point', { vm: 'other', user: 'ada' }, id],
      ['three point', labels, 5],
      ['start end', labels, 0],
      ['outside point', undefined, 0],
    ]);
  });

  test('and causes of one runtime are not those of another in the same process', () => {
    using one = recording('one');
    using two = recording('two');
    one.tracer.label({ vm: 'penguin' }, () =>
      one.tracer.span('service', 'outer', 'a', () => {
        two.tracer.point('event', 'elsewhere', 'b');
        two.tracer.caused(3, () => two.tracer.label({ vm: 'other' }, () => two.tracer.point('event', 'own', 'b')));
      }),
    );
    expect(one.records.map(({ name }) => name)).toEqual(['outer', 'outer']);
    expect(two.records.map(({ name, cause, labels }) => [name, cause, labels])).toEqual([
      ['elsewhere', 0, undefined],
      ['own', 3, { vm: 'other' }],
    ]);
  });
});
