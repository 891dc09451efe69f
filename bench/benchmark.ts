// What one benchmark is: the same work done by ours and by a peer, in one process, in alternating rounds.

/**
 * Does the work `iterations` times, one after the other. Returns something that depends on the work, so that an
 * optimising compiler may not leave it out; or a {@link Timed}, or a {@link Sized}.
 */
export type Side = (iterations: number) => unknown;

/** Returned by a side that does more than what is to be measured, and so took the time itself. */
export class Timed {
  readonly ns: number;

  /** @param ns of all iterations together */
  constructor(ns: number) {
    this.ns = ns;
  }
}

/** Returned by a side that measures not time but memory. */
export class Sized {
  readonly bytes: number;

  /** @param bytes of one iteration */
  constructor(bytes: number) {
    this.bytes = bytes;
  }
}

export interface Sides {
  readonly ours: Side;
  /** Left out when there is nothing to compare with; the target is then an absolute one. */
  readonly peer?: Side;
  /** Ends what `prepare` began. */
  readonly end?: () => void | Promise<void>;
}

/** What is promised; a miss is shown, and is no failure: a busy machine must not break a build. */
export type Target =
  /** Median of ours/peer, round by round. */
  | { readonly kind: 'ratio'; readonly atMost: number }
  /** Median of peer/ours, round by round: how many times as fast ours is. */
  | { readonly kind: 'speed'; readonly atLeast: number }
  /** Median of ours − peer, round by round, in ns. */
  | { readonly kind: 'extra'; readonly atMostNs: number }
  /** Median of ours, in ns. */
  | { readonly kind: 'absolute'; readonly atMostNs: number }
  /** Median of ours, of which each is a {@link Sized}. */
  | { readonly kind: 'size'; readonly atMostBytes: number }
  /** Shown for what it is. */
  | { readonly kind: 'none' };

/** For what is better told by how much gets done in a second. */
export interface Rate {
  readonly unit: 'IO/s' | 'B/s';
  /** How many of them one iteration is. */
  readonly perIteration: number;
}

export interface Plan {
  readonly iterations: number;
  readonly rounds: number;
  /** Rounds before those; default: {@link LONG_WARM_UP}. */
  readonly warmUp?: number;
}

export interface Benchmark {
  /** Unique, kebab-case. */
  readonly name: string;
  /** One line: what is measured. */
  readonly title: string;
  readonly peer?: string;
  readonly target: Target;
  /** Shown in place of the time. */
  readonly rate?: Rate;
  /** For what takes long: iterations of a round, and rounds that count. By default as many as fill {@link SHORT}. */
  readonly plan?: Plan;
  prepare(): Sides | Promise<Sides>;
}

/** Rounds so short that on a busy machine half of them are not interrupted by somebody else. */
export const SHORT = { ms: 4, rounds: 201, warmUp: 100 } as const;
/** Rounds before those that count, where a round takes long. */
export const LONG_WARM_UP = 5;

/** Nanoseconds for one iteration, or its bytes where the target is a size; medians over the rounds. */
export interface Result {
  readonly name: string;
  readonly title: string;
  readonly peer: string | undefined;
  readonly target: Target;
  readonly rate: Rate | undefined;
  readonly iterations: number;
  readonly rounds: number;
  readonly oursNs: number;
  readonly peerNs: number | undefined;
  /** Median of ours/peer, round by round, with its quartiles. */
  readonly ratio: { readonly median: number; readonly low: number; readonly high: number } | undefined;
  /** Median of ours − peer, round by round. */
  readonly extraNs: number | undefined;
}

/** `undefined` where nothing is promised. */
export function isMet({ target, ratio, extraNs, oursNs }: Result): boolean | undefined {
  if (target.kind === 'absolute') return oursNs <= target.atMostNs;
  if (target.kind === 'size') return oursNs <= target.atMostBytes;
  if (target.kind === 'ratio' && ratio !== undefined) return ratio.median <= target.atMost;
  if (target.kind === 'speed' && ratio !== undefined) return 1 / ratio.median >= target.atLeast;
  if (target.kind === 'extra' && extraNs !== undefined) return extraNs <= target.atMostNs;
  return undefined;
}
