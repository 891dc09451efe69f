// Runs one benchmark: warm-up, then rounds in which ours and the peer take turns, so that a change of the machine's speed
// meets both.

import { type Benchmark, LONG_WARM_UP, type Result, SHORT, type Side, Sized, Timed } from './benchmark.ts';

const NS_PER_MS = 1e6;

export async function measure(benchmark: Benchmark): Promise<Result> {
  const { ours, peer, end } = await benchmark.prepare();
  try {
    const iterations = benchmark.plan?.iterations ?? (await calibrate(ours));
    const { rounds, warmUp } = benchmark.plan === undefined ? SHORT : { warmUp: LONG_WARM_UP, ...benchmark.plan };
    const times: { readonly ours: number; readonly peer: number }[] = [];
    for (let round = -warmUp; round < rounds; round++) {
      const time = await runRound(ours, peer, iterations, round % 2 === 0);
      if (round >= 0) times.push(time);
    }
    return summarize(benchmark, iterations, times);
  } finally {
    await end?.();
  }
}

/** Both sides once; who begins alternates, as the second meets warmer caches. */
async function runRound(
  ours: Side,
  peer: Side | undefined,
  iterations: number,
  oursFirst: boolean,
): Promise<{ ours: number; peer: number }> {
  if (peer === undefined) return { ours: await time(ours, iterations), peer: Number.NaN };
  if (oursFirst) {
    const first = await time(ours, iterations);
    return { ours: first, peer: await time(peer, iterations) };
  }
  const first = await time(peer, iterations);
  return { ours: await time(ours, iterations), peer: first };
}

/** Nanoseconds for one iteration, or its bytes. */
async function time(side: Side, iterations: number): Promise<number> {
  // The garbage of the other side is not this one's. A full collection would also throw away optimised code, whose
  // hidden classes have no instance at that moment, and every round would begin cold.
  globalThis.gc?.({ type: 'minor', execution: 'sync' });
  const startedAt = process.hrtime.bigint();
  const outcome = side(iterations);
  const result = outcome instanceof Promise ? await outcome : outcome;
  if (result instanceof Sized) return result.bytes;
  const ns = result instanceof Timed ? result.ns : Number(process.hrtime.bigint() - startedAt);
  if (result === undefined) throw new TypeError('a side must return what depends on its work');
  return ns / iterations;
}

async function calibrate(side: Side): Promise<number> {
  let iterations = 1;
  for (;;) {
    const ms = ((await time(side, iterations)) * iterations) / NS_PER_MS;
    if (ms >= SHORT.ms) return iterations;
    const factor = ms < SHORT.ms / 10 ? 10 : Math.min(10, (SHORT.ms / ms) * 1.1);
    iterations = Math.ceil(iterations * factor);
  }
}

function summarize(
  { name, title, peer, target, rate }: Benchmark,
  iterations: number,
  times: readonly { readonly ours: number; readonly peer: number }[],
): Result {
  const common = { name, title, peer, target, rate, iterations, rounds: times.length };
  const oursNs = quantile(
    times.map((t) => t.ours),
    0.5,
  );
  if (peer === undefined) return { ...common, oursNs, peerNs: undefined, ratio: undefined, extraNs: undefined };
  const ratios = times.map((t) => t.ours / t.peer);
  return {
    ...common,
    oursNs,
    peerNs: quantile(
      times.map((t) => t.peer),
      0.5,
    ),
    ratio: { median: quantile(ratios, 0.5), low: quantile(ratios, 0.25), high: quantile(ratios, 0.75) },
    extraNs: quantile(
      times.map((t) => t.ours - t.peer),
      0.5,
    ),
  };
}

/** @param q from 0 to 1; the value at or next below it in order */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * q)] ?? Number.NaN;
}
