// Every kind of hook against a plain loop: any taps in any order, that answer, fail, hang, and add or remove others in
// the midst of a call.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import type { TapOptions } from './hooks.ts';
import { flush } from './test-programs/fake-clock.ts';
import { firstAllowedOrder } from './test-programs/tap-order-model.ts';
import { TAP_MS, testHooks } from './test-programs/test-hooks.ts';
import { defineHook, HOOK_KINDS, type HookKind } from './tokens.ts';

const OWNERS = ['a', 'b', 'c', 'd'];
const MOST_TAPS = 6;

type Outcome = 'nothing' | 'value' | 'null' | 'throw';
interface Spec {
  readonly owner: string;
  readonly stage: number;
  readonly before: readonly string[];
  readonly after: readonly string[];
  readonly outcome: Outcome;
  /** Milliseconds until it answers; 0: at once, -1: a promise that is settled already, and a long one is too late. */
  readonly delay: number;
  /** Index of a tap to remove when it is called. */
  readonly removes: number | undefined;
  /** Index of a spec to tap with when it is called. */
  readonly adds: number | undefined;
}

/** What a call came to: the taps it reached with what they were given, and its result or the failures. */
interface Account {
  readonly reached: readonly string[];
  readonly result?: unknown;
  readonly failures?: readonly string[];
}

const LATE = TAP_MS * 3;

/** What a tap answers, in words: a value, or the code of the error that names it. */
function judge(kind: HookKind, { outcome, delay }: Spec, value: string): { answer?: unknown; code?: string } {
  const isSync = kind === 'sync' || kind === 'sync-bail';
  if (isSync && delay !== 0) return { code: 'CORE_ERR_HOOK_SYNC' };
  if (delay === LATE) return { code: 'CORE_ERR_TAP_TIMEOUT' };
  if (outcome === 'throw') return { code: 'CORE_ERR_TAP_FAILED' };
  if (outcome === 'null' && kind.endsWith('bail')) return { code: 'CORE_ERR_HOOK_NULL' };
  return outcome === 'nothing' ? {} : { answer: outcome === 'null' ? null : value };
}

class Model {
  readonly #kind: HookKind;
  readonly #specs: readonly Spec[];
  readonly #taps: { readonly spec: Spec; readonly number: number; removed: boolean }[] = [];

  constructor(kind: HookKind, specs: readonly Spec[]) {
    this.#kind = kind;
    this.#specs = specs;
  }

  #inOrder() {
    const live = this.#taps.filter(({ removed }) => !removed);
    return firstAllowedOrder(
      live.map((tap) => ({ tap, ...tap.spec, rank: OWNERS.indexOf(tap.spec.owner), sequence: tap.number })),
    )?.map(({ tap }) => tap);
  }

  /** False when it would close a circle. */
  add(index: number): boolean {
    const spec = this.#specs[index];
    if (spec === undefined || this.#taps.length >= MOST_TAPS) return true;
    this.#taps.push({ spec, number: this.#taps.length, removed: false });
    if (this.#inOrder() !== undefined) return true;
    this.#taps.pop();
    // Its number is not given again, as a tap's is not.
    this.#taps.push({ spec, number: this.#taps.length, removed: true });
    return false;
  }

  remove(index: number): void {
    const tap = this.#taps[index];
    if (tap !== undefined) tap.removed = true;
  }

  call(argument: unknown): Account {
    const reached: string[] = [];
    const failures: string[] = [];
    let carried = argument;
    for (const tap of this.#inOrder() ?? []) {
      if (tap.removed) continue;
      reached.push(`${tap.spec.owner}${tap.number}(${carried})`);
      if (tap.spec.removes !== undefined) this.remove(tap.spec.removes);
      if (tap.spec.adds !== undefined) this.add(tap.spec.adds);
      const { answer, code } = judge(this.#kind, tap.spec, `v${tap.number}`);
      if (code !== undefined) {
        failures.push(`${code} ${tap.spec.owner}`);
        if (this.#kind !== 'parallel') return { reached, failures };
      } else if (answer !== undefined) {
        if (this.#kind.endsWith('bail')) return { reached, result: answer };
        if (this.#kind === 'waterfall') carried = answer;
      }
    }
    if (failures.length > 0) return { reached, failures: failures.sort() };
    return { reached, result: this.#kind === 'waterfall' ? carried : undefined };
  }
}

class Real {
  readonly #kit = testHooks();
  readonly #plugins = new Map(OWNERS.map((name) => [name, this.#kit.plugin(name)]));
  readonly #hook;
  readonly #specs: readonly Spec[];
  readonly #taps: (Disposable | undefined)[] = [];
  #reached: string[] = [];

  constructor(kind: HookKind, specs: readonly Spec[]) {
    this.#hook = defineHook<[x: unknown], unknown>()('t/model', kind, ['x']);
    this.#specs = specs;
  }

  add(index: number): boolean {
    const spec = this.#specs[index];
    if (spec === undefined || this.#taps.length >= MOST_TAPS) return true;
    const number = this.#taps.length;
    this.#taps.push(undefined);
    const { stage, before, after } = spec;
    const options: TapOptions = { stage, before, after };
    try {
      const hooks = this.#plugins.get(spec.owner)?.hooks;
      this.#taps[number] = hooks?.tap(this.#hook, (x) => this.#run(spec, number, x), options);
      return true;
    } catch (error) {
      if (isRuntimeError(error, 'CORE_ERR_HOOK_ORDER')) return false;
      throw error;
    }
  }

  remove(index: number): void {
    this.#taps[index]?.[Symbol.dispose]();
  }

  #run({ owner, outcome, delay, removes, adds }: Spec, number: number, x: unknown): unknown {
    this.#reached.push(`${owner}${number}(${x})`);
    if (removes !== undefined) this.remove(removes);
    if (adds !== undefined) this.add(adds);
    const answer = (): unknown => {
      if (outcome === 'throw') throw new Error('thrown');
      return outcome === 'nothing' ? undefined : outcome === 'null' ? null : `v${number}`;
    };
    if (delay === 0) return answer();
    if (delay === -1) return Promise.try(answer);
    return new Promise<void>((resolve) => void this.#kit.clock.after(delay, resolve)).then(answer);
  }

  async call(argument: unknown): Promise<Account> {
    this.#reached = [];
    let account: Account | undefined;
    const caller = this.#plugins.get('a')?.hooks;
    const work = Promise.try(() => caller?.call(this.#hook, argument)).then(
      (result) => {
        account = { reached: this.#reached, result };
      },
      (error: unknown) => {
        const all = error instanceof AggregateError ? error.errors : [error];
        const failures = all.map((e) => (isRuntimeError(e) ? `${e.code} ${e.plugin}` : `uncoded: ${e}`)).sort();
        account = { reached: this.#reached, failures };
      },
    );
    // Seven taps that are all too late would need 7 × 125 ms.
    for (let i = 0; i < 100 && account === undefined; i++) {
      await flush();
      this.#kit.clock.advance(TAP_MS / 4);
    }
    if (account === undefined) expect.fail('the call never ended');
    await work;
    return account;
  }

  /** Calls under way, when all should be over. */
  leftovers(): number {
    return [...this.#plugins.values()].reduce((sum, { gate }) => sum + gate.inside, 0);
  }
}

const wishes = fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, fc.subarray(OWNERS, { maxLength: 2 }));
const spec = (delays: readonly number[]): fc.Arbitrary<Spec> =>
  fc.record({
    owner: fc.constantFrom(...OWNERS),
    stage: fc.integer({ min: -1, max: 1 }),
    before: wishes,
    after: wishes,
    outcome: fc.constantFrom<Outcome>('nothing', 'nothing', 'value', 'null', 'throw'),
    delay: fc.constantFrom(...delays),
    removes: fc.option(fc.nat(MOST_TAPS), { nil: undefined, freq: 4 }),
    adds: fc.option(fc.nat(MOST_TAPS), { nil: undefined, freq: 4 }),
  });

test.each(HOOK_KINDS)('%s does what a plain loop does', async (kind) => {
  // Promises are refused by sync hooks, so that most taps of those should give none.
  const delays = kind.startsWith('sync') ? [0, 0, 0, 0, 0, 0, 0, -1] : [0, 0, -1, 10, 50, LATE];
  const specs = fc.array(spec(delays), { minLength: 1, maxLength: MOST_TAPS });
  await fc.assert(
    fc.asyncProperty(specs, fc.nat(MOST_TAPS), async (list, first) => {
      const model = new Model(kind, list);
      const real = new Real(kind, list);
      for (let i = 0; i < Math.min(first + 1, list.length); i++) expect(real.add(i)).toBe(model.add(i));
      for (const argument of ['x', 'y', 'z']) {
        const expected = model.call(argument);
        expect(await real.call(argument)).toEqual(expected);
      }
      expect(real.leftovers()).toBe(0);
    }),
    { numRuns: 120 },
  );
});
