import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileFanOut, type FanOut, loopFanOut, type Outcomes, type Receiver } from './fan-out.ts';

interface Event {
  readonly id: number;
  readonly data: string;
}
interface Listener extends Receiver<Event> {
  readonly name: number;
}
/** What a listener does when it is called. */
const deed = fc.record({
  does: fc.constantFrom('nothing', 'throws', 'returns', 'removes the next', 'removes itself'),
  after: fc.constantFrom(0, 5, Number.POSITIVE_INFINITY),
});
type Deed = ReturnType<typeof deed.generate>['value'];

function play(
  deeds: readonly Deed[],
  make: (listeners: readonly Listener[], outcomes: Outcomes<Listener, Event>) => FanOut<Event> | undefined,
): readonly string[] {
  const log: string[] = [];
  const listeners: Listener[] = deeds.map(({ does, after }, name) => ({
    name,
    after,
    listener(data, event) {
      log.push(`${name} got ${String(data)} of ${event.id}`);
      const victim = does === 'removes itself' ? listeners[name] : listeners[name + 1];
      if (does.startsWith('removes') && victim !== undefined) victim.after = Number.POSITIVE_INFINITY;
      if (does === 'throws') throw new Error(`from ${name}`);
      return does === 'returns' ? 'something' : undefined;
    },
  }));
  const fanOut = make(listeners, {
    onResult: ({ name }, { id }, result) => log.push(`${name} returned ${String(result)} to ${id}`),
    onError: ({ name }, { id }, error) => log.push(`${name} threw ${String(error)} at ${id}`),
  });
  for (const id of [3, 7]) fanOut?.({ id, data: `data ${id}` });
  return log;
}

test('the compiled fan-out does what the loop does', () => {
  fc.assert(
    fc.property(fc.array(deed, { maxLength: 20 }), (deeds) => {
      expect(play(deeds, compileFanOut)).toEqual(play(deeds, loopFanOut));
    }),
    { numRuns: 500 },
  );
});

test('a listener that throws keeps nobody else from the event', () => {
  const log = play(
    [
      { does: 'throws', after: 0 },
      { does: 'nothing', after: 0 },
    ],
    compileFanOut,
  );
  expect(log).toEqual([
    '0 got data 3 of 3',
    '0 threw Error: from 0 at 3',
    '1 got data 3 of 3',
    '0 got data 7 of 7',
    '0 threw Error: from 0 at 7',
    '1 got data 7 of 7',
  ]);
});

test('too many listeners are left to the loop', () => {
  const many = Array.from({ length: 65 }, (): Listener => ({ name: 0, after: 0, listener: () => undefined }));
  expect(compileFanOut<Event, Listener>(many, { onResult() {}, onError() {} })).toBeUndefined();
});
