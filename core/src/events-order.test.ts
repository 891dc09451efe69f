// The order in which listeners hear events, against a model.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { testBus } from './test-programs/test-bus.ts';

type Topic = 'bus:a' | 'bus:b' | 'bus:c';
type Pattern = Topic | 'bus:*';
/** What the listener `who` does when it is called for the `nth` time. */
type Action =
  | { readonly emit: Topic }
  | { readonly remove: number }
  | { readonly add: Pattern; readonly replay: number | true };
type Step = { readonly emit: Topic } | { readonly add: Pattern; readonly replay: number | true };
type Program = readonly (readonly (readonly Action[])[])[];

/** What the program needs of a bus. */
interface Simple {
  on(pattern: Pattern, listener: (n: number) => void, replay: number | true): () => void;
  emit(topic: Topic, n: number): void;
}

/** One list of listeners, one queue, nothing clever. */
function modelBus(historyLimit: number): Simple {
  interface Event {
    readonly n: number;
    readonly topic: Topic;
  }
  interface Listener {
    readonly pattern: Pattern;
    readonly call: (n: number) => void;
    readonly since: number;
    removed: boolean;
  }
  const past: Event[] = [];
  const queue: Event[] = [];
  let listeners: readonly Listener[] = [];
  let busy = false;
  const hears = ({ pattern }: Listener, { topic }: Event): boolean => pattern === 'bus:*' || pattern === topic;
  const drain = (): void => {
    busy = true;
    for (let event = queue.shift(); event !== undefined; event = queue.shift()) {
      const wasAt = past.indexOf(event);
      for (const listener of listeners) {
        if (!listener.removed && hears(listener, event) && listener.since <= wasAt) listener.call(event.n);
      }
    }
    busy = false;
  };
  return {
    on(pattern, call, replay) {
      const listener: Listener = { pattern, call, since: past.length, removed: false };
      listeners = [...listeners, listener];
      const topics = ['bus:a', 'bus:b', 'bus:c'] as const;
      const kept = topics.flatMap((topic) => {
        const ofTopic = past.filter((event) => event.topic === topic && hears(listener, event)).slice(-historyLimit);
        return replay === true ? ofTopic : ofTopic.slice(Math.max(0, ofTopic.length - replay));
      });
      const wasBusy = busy;
      busy = true;
      for (const event of kept.sort((a, b) => past.indexOf(a) - past.indexOf(b))) {
        if (!listener.removed) listener.call(event.n);
      }
      busy = wasBusy;
      if (!busy) drain();
      return () => {
        listener.removed = true;
        listeners = listeners.filter((other) => other !== listener);
      };
    },
    emit(topic, n) {
      const event = { n, topic };
      past.push(event);
      queue.push(event);
      if (!busy) drain();
    },
  };
}

function realBus(history: number): Simple {
  const { bus } = testBus({ history, listenerLimit: 1_000 });
  return {
    on(pattern, listener, replay) {
      const subscription = bus.on(pattern, listener, { replay });
      return () => subscription[Symbol.dispose]();
    },
    emit: (topic, n) => bus.emit(topic, n),
  };
}

/** @returns which listener heard what, in order */
function play(bus: Simple, steps: readonly Step[], program: Program): string[] {
  const log: string[] = [];
  const ends: ((() => void) | undefined)[] = [];
  let events = 0;
  const emit = (topic: Topic): void => {
    // Programs may run in circles.
    if (events >= 60) return;
    events += 1;
    bus.emit(topic, events);
  };
  const add = (pattern: Pattern, replay: number | true): void => {
    const who = ends.length;
    if (who >= 12) return;
    ends.push(undefined);
    let calls = 0;
    const end = bus.on(
      pattern,
      (n) => {
        log.push(`${who} hears ${n}`);
        const actions = program[who % program.length]?.[calls] ?? [];
        calls += 1;
        for (const action of actions) {
          if ('emit' in action) emit(action.emit);
          else if ('add' in action) add(action.add, action.replay);
          else ends[action.remove]?.();
        }
        log.push(`${who} is done`);
      },
      replay,
    );
    ends[who] = end;
  };
  for (const step of steps) {
    if ('emit' in step) emit(step.emit);
    else add(step.add, step.replay);
  }
  return log;
}

test('listeners that emit, add and remove in the midst of it see what a plain queue would show them', () => {
  const topic = fc.constantFrom<Topic>('bus:a', 'bus:b', 'bus:c');
  const pattern = fc.constantFrom<Pattern>('bus:a', 'bus:b', 'bus:c', 'bus:*');
  const emit = fc.record({ emit: topic });
  const add = fc.record({ add: pattern, replay: fc.constantFrom<number | true>(0, 1, 2, true) });
  const remove = fc.record({ remove: fc.nat(7) });
  const action: fc.Arbitrary<Action> = fc.oneof({ weight: 4, arbitrary: emit }, add, remove);
  const actionsByCall = fc.array(fc.array(action, { maxLength: 3 }), { maxLength: 4 });
  fc.assert(
    fc.property(
      fc.array(fc.oneof(emit, add), { minLength: 1, maxLength: 12, size: 'max' }),
      fc.array(actionsByCall, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 5 }),
      (steps, program, history) => {
        const expected = play(modelBus(history), steps, program);
        expect(play(realBus(history), steps, program)).toEqual(expected);
      },
    ),
    { numRuns: 1_000 },
  );
});

test('all listeners of a topic hear its events in one order, however deep they are emitted', () => {
  const { bus } = testBus();
  const heard: number[][] = [[], [], []];
  let n = 0;
  const events: unknown[] = [];
  bus.on('*', (data) => void events.push(data));
  for (const [who, list] of heard.entries()) {
    bus.on('bus:a', (value) => {
      list.push(value);
      if (n < 30 && (value + who) % 2 === 0) {
        n += 1;
        bus.emit('bus:a', n);
      }
    });
  }
  bus.emit('bus:a', 0);
  expect(heard[0]).toHaveLength(31);
  expect(heard[1]).toEqual(heard[0]);
  expect(heard[2]).toEqual(heard[0]);
  expect(events).toEqual(heard[0]);
});
