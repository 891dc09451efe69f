// Which frames a guest wants, as its driver has said through the control queue; §5.1.6.5.1 and .2. Best effort, as the
// specification has it: where the driver lists more addresses than are kept, all of their kind pass.

import { macAt } from './mac.ts';

const BROADCAST = 0xffff_ffff_ffff;
const MAX_ADDRESSES = 64;

export interface FilterState {
  readonly own: number;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  /** 48-bit numbers; `undefined`: more than are kept. */
  readonly unicast: readonly number[] | undefined;
  readonly multicast: readonly number[] | undefined;
}

export class RxFilter {
  #state: FilterState;

  constructor(state: FilterState) {
    this.#state = state;
  }

  /** Before the driver has said anything: everything, so that no boot program goes without. */
  static open(own: number): FilterState {
    return { own, promiscuous: true, allMulticast: true, unicast: [], multicast: [] };
  }

  get state(): FilterState {
    return this.#state;
  }

  change(change: Partial<FilterState>): void {
    this.#state = { ...this.#state, ...change };
  }

  setTable(unicast: readonly number[], multicast: readonly number[]): void {
    const kept = (list: readonly number[]) => (list.length > MAX_ADDRESSES ? undefined : list);
    this.change({ unicast: kept(unicast), multicast: kept(multicast) });
  }

  /** Whether the frame that begins at `at` passes. Allocates nothing. */
  passes(bytes: Uint8Array, at: number): boolean {
    const { own, promiscuous, allMulticast, unicast, multicast } = this.#state;
    if (promiscuous) return true;
    const target = macAt(bytes, at);
    if (target === own || target === BROADCAST) return true;
    if (((bytes[at] as number) & 1) === 0) return unicast?.includes(target) ?? true;
    return allMulticast || (multicast?.includes(target) ?? true);
  }
}
