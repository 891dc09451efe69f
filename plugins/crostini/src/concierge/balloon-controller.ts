// Looks once a second at how short the host is, and has the balloons of VMs follow.

import type { BalloonRequest, BalloonState } from '@runtime/plugin-vmm/contract';
import { type Clock, systemClock } from '@runtime/sdk';
import {
  type BalloonChange,
  type BalloonMemo,
  type GuestMemory,
  isWatched,
  levelOf,
  NO_MEMO,
  planBalloons,
} from './balloon-policy.ts';
import { type HostMemory, readHostMemory } from './pressure.ts';

export interface BalloonedVm {
  /** Another one for each start. */
  readonly key: string;
  readonly name: string;
  readonly owner: string;
  readonly machine: string;
  readonly maxMib: number;
}

export interface BalloonControllerOptions {
  /** Those that run, and have a balloon. */
  readonly list: () => readonly BalloonedVm[];
  readonly balloon: (machine: string, request: BalloonRequest) => Promise<BalloonState>;
  readonly minMib: number;
  readonly onChange: (vm: BalloonedVm, change: BalloonChange, actualMib: number) => void;
  /** `undefined`: it cannot be told, and nothing is done. */
  readonly host?: () => HostMemory | undefined;
  readonly clock?: Clock;
  /** Seconds since 1970. */
  readonly realtime?: () => number;
}

const TICK_MS = 1_000;
/** How often a guest tells what it has, while it is looked at. */
const STATS_SECONDS = 2;
/** What is older counts as not told. */
const STALE_SECONDS = 15;

export class BalloonController implements Disposable {
  readonly #options: BalloonControllerOptions;
  readonly #clock: Clock;
  /** Guests that tell what they have. */
  readonly #telling: Set<string> = new Set();
  #memo: BalloonMemo = NO_MEMO;
  #timer: Disposable | undefined;
  #ended = false;

  constructor(options: BalloonControllerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#schedule();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    this.#timer?.[Symbol.dispose]();
  }

  #schedule(): void {
    if (this.#ended) return;
    this.#timer = this.#clock.after(TICK_MS, () => {
      void this.#tick()
        .catch(() => {})
        .then(() => this.#schedule());
    });
  }

  async #tick(): Promise<void> {
    const vms = this.#options.list();
    this.#forgetOthers(vms);
    if (vms.length === 0) return;
    const host = (this.#options.host ?? readHostMemory)();
    if (host === undefined) return;
    const level = levelOf(host);
    const watched = vms.filter((vm) => isWatched(this.#memo, level, vm));
    if (watched.length === 0) {
      // One look every second at the host is all that is left.
      for (const vm of vms) if (this.#telling.delete(vm.machine)) await this.#ask(vm, { statsSeconds: 0 });
      return;
    }
    const guests = (await Promise.all(watched.map((vm) => this.#look(vm)))).filter((guest) => guest !== undefined);
    const { minMib, onChange } = this.#options;
    const { memo, changes } = planBalloons(this.#memo, { host, guests, minMib, now: this.#clock.now() });
    this.#memo = memo;
    for (const change of changes) {
      const vm = vms.find(({ key }) => key === change.key);
      if (vm === undefined) continue;
      const state = await this.#ask(vm, { targetMib: change.targetMib });
      if (state !== undefined && !this.#ended) onChange(vm, change, state.actualMib);
    }
  }

  async #look(vm: BalloonedVm): Promise<GuestMemory | undefined> {
    const begin = !this.#telling.has(vm.machine);
    this.#telling.add(vm.machine);
    const state = await this.#ask(vm, begin ? { statsSeconds: STATS_SECONDS } : {});
    if (state === undefined) return undefined;
    const { actualMib, guest } = state;
    const { realtime = () => Date.now() / 1_000 } = this.#options;
    const isFresh = guest !== undefined && Math.abs(realtime() - guest.at) < STALE_SECONDS;
    return { key: vm.key, maxMib: vm.maxMib, actualMib, availableMib: isFresh ? guest.availableMib : undefined };
  }

  /** `undefined`: its machine does not answer, or has just ended. */
  async #ask({ machine }: BalloonedVm, request: BalloonRequest): Promise<BalloonState | undefined> {
    try {
      return await this.#options.balloon(machine, request);
    } catch {
      this.#telling.delete(machine);
      return undefined;
    }
  }

  #forgetOthers(vms: readonly BalloonedVm[]): void {
    const keys = new Set(vms.map(({ key }) => key));
    const machines = new Set(vms.map(({ machine }) => machine));
    for (const machine of this.#telling) if (!machines.has(machine)) this.#telling.delete(machine);
    const { guests } = this.#memo;
    if ([...guests.keys()].every((key) => keys.has(key))) return;
    this.#memo = { ...this.#memo, guests: new Map([...guests].filter(([key]) => keys.has(key))) };
  }
}
