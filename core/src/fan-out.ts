// Calls a list of listeners with one event, each shielded from the others. A loop calls them all from one place, which V8
// cannot predict; a topic that is used much gets a function of its own, in which each call stands by itself. That halves
// the cost of an emit (bench/cases/events.bench.ts).

interface FanOutEvent {
  readonly id: number;
  readonly data: unknown;
}

export interface Receiver<E extends FanOutEvent> {
  readonly listener: (data: unknown, event: E) => unknown;
  /** Only events of a higher id are for it. */
  after: number;
}

export interface Outcomes<R, E> {
  /** It returned something. */
  readonly onResult: (receiver: R, event: E, result: unknown) => void;
  readonly onError: (receiver: R, event: E, error: unknown) => void;
}

export type FanOut<E> = (event: E) => void;

/** Beyond this many the compiled function grows too large to be optimised. */
const MAX_COMPILED = 64;

export function loopFanOut<E extends FanOutEvent, R extends Receiver<E>>(
  receivers: readonly R[],
  { onResult, onError }: Outcomes<R, E>,
): FanOut<E> {
  return (event) => {
    for (const receiver of receivers) {
      if (event.id <= receiver.after) continue;
      try {
        const result = receiver.listener(event.data, event);
        if (result !== undefined) onResult(receiver, event, result);
      } catch (error) {
        onError(receiver, event, error);
      }
    }
  };
}

/** The same, unrolled; `undefined` where code may not be made from strings, or for too many receivers. */
export function compileFanOut<E extends FanOutEvent, R extends Receiver<E>>(
  receivers: readonly R[],
  { onResult, onError }: Outcomes<R, E>,
): FanOut<E> | undefined {
  if (receivers.length > MAX_COMPILED) return undefined;
  // Nothing but numbers goes into the text.
  const steps = receivers.map(
    (_, i) => `
      if (event.id > r${i}.after) {
        try {
          const result = f${i}(event.data, event);
          if (result !== undefined) onResult(r${i}, event, result);
        } catch (error) {
          onError(r${i}, event, error);
        }
      }`,
  );
  const names = receivers.map((_, i) => `r${i}`);
  const listeners = receivers.map((_, i) => `const f${i} = r${i}.listener;`);
  const body = `'use strict'; ${listeners.join(' ')} return (event) => {${steps.join('')}};`;
  try {
    return new Function('onResult', 'onError', ...names, body)(onResult, onError, ...receivers) as FanOut<E>;
  } catch (error) {
    // --disallow-code-generation-from-strings
    if (error instanceof EvalError) return undefined;
    throw error;
  }
}
