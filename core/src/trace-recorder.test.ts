import { describe, expect, test } from 'vitest';
import { flush } from './test-programs/fake-clock.ts';
import { TraceRecorder } from './trace-recorder.ts';
import { Tracer, traceChannels } from './tracing.ts';

describe('the flight recorder', () => {
  test('tells why something happened, back to the beginning', async () => {
    const tracer = new Tracer('recorder');
    using recorder = new TraceRecorder(tracer, 100);
    tracer.point('event', 'unrelated', 'x');
    let last = 0;
    await tracer.span('command', 'vm start', 'vmm', async () => {
      await flush();
      const event = tracer.point('event', 'vm:started', 'vmm');
      await tracer.caused(event, () =>
        tracer.span('service', 'concierge.note', 'vmm', async () => {
          await flush();
          last = tracer.point('lease', 'cid/x', 'concierge');
        }),
      );
    });
    await flush();
    expect(recorder.why(last).map(({ name, phase }) => `${name} ${phase}`)).toEqual([
      'cid/x point',
      // The end of a span stands for the whole of it.
      'concierge.note end',
      'vm:started point',
      'vm start end',
    ]);
    expect(recorder.why(12_345)).toEqual([]);
  });

  test('keeps the last records only, one for each span', () => {
    const tracer = new Tracer('recorder');
    using recorder = new TraceRecorder(tracer, 3);
    tracer.span('hook', 'long', 'a', () => {
      for (const name of ['b', 'c']) tracer.point('lease', name, 'a');
    });
    expect(recorder.records.map(({ name, phase }) => `${name} ${phase}`)).toEqual(['long end', 'b point', 'c point']);
    tracer.point('lease', 'd', 'a');
    expect(recorder.records.map(({ name }) => name)).toEqual(['b', 'c', 'd']);
    // Its cause is no longer known, and so the chain ends there.
    const [b] = recorder.records;
    expect(recorder.why(b?.id ?? 0).map(({ name }) => name)).toEqual(['b']);
  });

  test('does not run in circles when causes do', () => {
    const tracer = new Tracer('recorder');
    using recorder = new TraceRecorder(tracer, 10);
    tracer.caused(2, () => tracer.point('lease', 'one', 'a', undefined, 1));
    tracer.caused(1, () => tracer.point('lease', 'two', 'a', undefined, 2));
    tracer.caused(3, () => tracer.point('lease', 'itself', 'a', undefined, 3));
    expect(recorder.why(2).map(({ name }) => name)).toEqual(['two', 'one']);
    expect(recorder.why(1).map(({ name }) => name)).toEqual(['one']);
    expect(recorder.why(3).map(({ name }) => name)).toEqual(['itself']);
  });

  test.each([0, -5])('keeps one at least, also for a limit of %d', (limit) => {
    const tracer = new Tracer('recorder');
    using recorder = new TraceRecorder(tracer, limit);
    const id = tracer.point('lease', 'x', 'a');
    expect(recorder.why(id)).toHaveLength(1);
  });

  test('is deaf to other runtimes, and once it is disposed', () => {
    const tracer = new Tracer('recorder');
    const recorder = new TraceRecorder(tracer, 10);
    new Tracer('another').point('lease', 'x', 'a');
    expect(recorder.records).toEqual([]);
    recorder[Symbol.dispose]();
    tracer.point('lease', 'x', 'a');
    expect(recorder.records).toEqual([]);
    expect(traceChannels.lease.hasSubscribers).toBe(false);
  });
});
