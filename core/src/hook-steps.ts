// What tapable executes for each tap, once for each kind of hook. Each tap has a copy of its own: see own-source.ts. That
// is why the makers use nothing but what they are given.

import { type AnyFunction, failure, type ParallelCall, type SeriesCall, type Tap } from './hook-call.ts';
import { withOwnSource } from './own-source.ts';

/** The tap of a synchronous hook that runs, to name it if it throws: cheaper than a try block in each. */
export interface Running {
  tap: Tap | undefined;
}

type Check = (tap: Tap, answer: unknown) => void;

function makeSync(tap: Tap, fn: AnyFunction, running: Running, check: Check): AnyFunction {
  return (...args) => {
    if (!tap.isLive) return undefined;
    running.tap = tap;
    const answer = fn(...args);
    if (answer !== undefined) check(tap, answer);
    return answer;
  };
}

type SeriesStep = (call: SeriesCall, ...args: readonly unknown[]) => Promise<unknown>;

/** Never throws: after a throw in a callback tapable would never settle. */
function makeSeries(tap: Tap, fn: AnyFunction): SeriesStep {
  return (call, ...args) => {
    if (call.isOver || !tap.isLive || !tap.gate.open) return call.ask(tap, [...args]);
    call.begin(tap);
    try {
      const answer = fn(...args);
      return answer instanceof Promise ? answer : Promise.resolve(answer);
    } catch (cause) {
      return Promise.reject(cause);
    }
  };
}

type WaterfallStep = (value: unknown, call: SeriesCall, ...args: readonly unknown[]) => Promise<unknown>;

/** tapable hands on the first argument. */
function makeWaterfall(tap: Tap, fn: AnyFunction): WaterfallStep {
  return (value, call, ...args) => {
    if (call.isOver || !tap.isLive || !tap.gate.open) return call.ask(tap, [value, ...args]);
    call.begin(tap);
    try {
      const answer = fn(value, ...args);
      return answer instanceof Promise ? answer : Promise.resolve(answer);
    } catch (cause) {
      return Promise.reject(cause);
    }
  };
}

type ParallelStep = (call: ParallelCall, ...args: readonly unknown[]) => void;

function makeParallel(tap: Tap, fn: AnyFunction, fail: typeof failure): ParallelStep {
  return (call, ...args) => {
    if (!tap.isLive || !tap.gate.open) return call.ask(tap, [...args]);
    try {
      call.take(tap, fn(...args));
    } catch (cause) {
      call.fail(fail(tap, cause));
    }
  };
}

/** @param arity how many arguments a tap of the hook gets */
export function makeSyncStep(tap: Tap, arity: number, running: Running, check: Check): AnyFunction {
  return withOwnSource(makeSync, arity)(tap, tap.fn, running, check);
}

/** Its first parameter is the call; of a waterfall, the second. */
export function makeAsyncStep(tap: Tap, arity: number): AnyFunction {
  switch (tap.kind) {
    case 'parallel':
      return withOwnSource(makeParallel, arity)(tap, tap.fn, failure) as AnyFunction;
    case 'waterfall':
      return withOwnSource(makeWaterfall, arity - 1)(tap, tap.fn) as AnyFunction;
    default:
      return withOwnSource(makeSeries, arity)(tap, tap.fn) as AnyFunction;
  }
}
