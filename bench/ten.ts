// Ten listeners and taps of each sort, written out: copies of one function would share what V8 learns about it, and make
// call sites look simpler than they are in a program. Ours and the peer get the same ones.

export interface Tick {
  n: number;
}

/** What all of them write to, so that their work is of consequence. */
export const counter: { sum: number } = { sum: 0 };

/** Listeners of an event, and taps of a sync or sync-bail hook without an opinion. */
export const TEN_SYNC: readonly ((tick: Tick) => void)[] = [
  (t) => {
    counter.sum += t.n;
  },
  (t) => {
    counter.sum += t.n + 1;
  },
  (t) => {
    counter.sum -= t.n;
  },
  (t) => {
    counter.sum += t.n & 3;
  },
  (t) => {
    counter.sum += t.n >> 1;
  },
  (t) => {
    counter.sum ^= t.n;
  },
  () => {
    counter.sum += 2;
  },
  (t) => {
    counter.sum -= t.n & 1;
  },
  (t) => {
    counter.sum += t.n + 3;
  },
  (t) => {
    counter.sum |= t.n & 7;
  },
];

/** Taps of an asynchronous hook without an opinion. */
export const TEN_ASYNC: readonly ((tick: Tick) => Promise<void>)[] = [
  async (t) => {
    counter.sum += t.n;
  },
  async (t) => {
    counter.sum += t.n + 1;
  },
  async (t) => {
    counter.sum -= t.n;
  },
  async (t) => {
    counter.sum += t.n & 3;
  },
  async (t) => {
    counter.sum += t.n >> 1;
  },
  async (t) => {
    counter.sum ^= t.n;
  },
  async () => {
    counter.sum += 2;
  },
  async (t) => {
    counter.sum -= t.n & 1;
  },
  async (t) => {
    counter.sum += t.n + 3;
  },
  async (t) => {
    counter.sum |= t.n & 7;
  },
];

/** Taps of a waterfall: each hands on a value of its own. */
export const TEN_CHANGING: readonly ((tick: Tick) => Promise<Tick>)[] = [
  async (t) => ({ n: t.n + 1 }),
  async (t) => ({ n: t.n + 2 }),
  async (t) => ({ n: t.n - 1 }),
  async (t) => ({ n: t.n ^ 1 }),
  async (t) => ({ n: t.n | 1 }),
  async (t) => ({ n: t.n & 0xffff }),
  async (t) => ({ n: t.n + 3 }),
  async (t) => ({ n: t.n - 2 }),
  async (t) => ({ n: t.n >> 1 }),
  async (t) => ({ n: t.n + 5 }),
];
