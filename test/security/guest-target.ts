// A guest that means harm and one that does not, in turns, with a whole device.

import {
  type Begin,
  type DrivenDevice,
  type DriverOptions,
  type HostileAct,
  HostileDriver,
  type Random,
} from '@runtime/sdk/testing';
import { Scribbler } from './scribbler.ts';
import { Found, pick, type Target, turn } from './target.ts';

/** CPU time of one case, in ms. */
const MAX_CASE_MS = 500;
/** Bytes that a guest writes to the configuration space at once. */
const MAX_CONFIG_WRITE = 16;

/** One thing that the guest does. */
export type GuestAct =
  | { readonly queue: number; readonly act: HostileAct }
  | { readonly config: { readonly offset: number; readonly bytes: string } };

/** A life that went wrong, as it is kept beside the device. */
export interface HostileCase {
  readonly why: string;
  readonly driver: DriverOptions;
  /** In hex; accepted feature bits of the device itself. */
  readonly features: string;
  readonly acts: readonly GuestAct[];
}

export interface Request {
  readonly bytes: Uint8Array;
  /** Bytes for the answer. */
  readonly room: number;
}

export interface GuestTargetParts {
  readonly driven: DrivenDevice;
  /** A request that the device understands or nearly does, so that the attack gets further than to the first check. */
  request?(random: Random, queue: number): Request;
  /** What the host does meanwhile. */
  host?(random: Random): void;
  serve(driven: DrivenDevice): Promise<void>;
  check?(): void;
  close?(): void;
}

export class GuestTarget implements Target {
  readonly #parts: GuestTargetParts;
  readonly #driven: DrivenDevice;
  readonly #ownFeatures: bigint;
  #scribbler: Scribbler | undefined;
  #broken = false;

  constructor(parts: GuestTargetParts) {
    this.#parts = parts;
    this.#driven = parts.driven;
    const { runner } = parts.driven;
    // Ring features are the kit's own.
    this.#ownFeatures = runner.features & ((1n << 24n) - 1n);
    runner.link = {
      notifyConfigChange: () => {},
      queueBroken: () => {
        this.#broken = true;
      },
      queueMended: () => {
        this.#broken = false;
      },
    };
  }

  /** From now on a second CPU of the guest writes all over its memory meanwhile. */
  race(): void {
    this.#scribbler ??= new Scribbler(this.#driven.ram);
  }

  async live(random: Random, most: number): Promise<number> {
    const begin = this.#begin(random);
    const acts: GuestAct[] = [];
    await this.#driven.reset(begin);
    const guests = this.#guests();
    this.#scribbler?.start();
    try {
      let played = 0;
      for (this.#broken = false; played < most && !this.#broken; played += 1) {
        await this.#timed(() => this.#case(guests, random, acts));
      }
      return played;
    } catch (e) {
      throw this.#found(e, begin, acts);
    } finally {
      await this.#scribbler?.stop();
      await this.#driven.reset();
      for (const guest of guests.values()) guest[Symbol.dispose]();
    }
  }

  /** Plays a life that is known. */
  async replay({ driver, features, acts }: HostileCase): Promise<void> {
    await this.#driven.reset({ driver, features: BigInt(features) });
    const guests = this.#guests();
    for (const act of acts) {
      await this.#timed(async () => {
        this.#apply(guests, act);
        if ('queue' in act) guests.get(act.queue)?.apply({ do: 'kick' });
        await turn();
      });
    }
    await this.#driven.reset();
    for (const guest of guests.values()) guest[Symbol.dispose]();
  }

  serve(): Promise<void> {
    return this.#parts.serve(this.#driven);
  }

  check(): void {
    if (!this.#driven.ram.intact) throw new Error('it has written outside of the memory of the guest');
    this.#parts.check?.();
  }

  stats(): Readonly<Record<string, number>> {
    return this.#driven.stats;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scribbler?.[Symbol.asyncDispose]();
    await this.#driven[Symbol.asyncDispose]();
    this.#parts.close?.();
  }

  #begin(random: Random): Required<Begin> {
    const flag = (): boolean => random(2) === 0;
    return {
      driver: {
        packed: flag(),
        indirect: flag(),
        eventIdx: flag(),
        inOrder: random(4) === 0,
        size: pick(random, [4, 8, 16, 64]),
      },
      features: random(3) > 0 ? this.#ownFeatures : this.#ownFeatures & BigInt(random(2 ** 24)),
    };
  }

  #guests(): Map<number, HostileDriver> {
    return new Map(this.#driven.queues.map((queue, index) => [index, new HostileDriver(queue)]));
  }

  async #case(guests: Map<number, HostileDriver>, random: Random, acts: GuestAct[]): Promise<void> {
    if (random(12) === 0) {
      const length = 1 + random(MAX_CONFIG_WRITE);
      const bytes = Buffer.from(Array.from({ length }, () => random(256))).toString('hex');
      this.#apply(guests, { config: { offset: pick(random, [0, 0, 1, random(64), random(256), 300]), bytes } }, acts);
    }
    const queue = random(guests.size);
    const guest = guests.get(queue) as HostileDriver;
    for (let left = 1 + random(2); left > 0; left -= 1) {
      for (const act of this.#invent(guest, queue, random)) this.#apply(guests, { queue, act }, acts);
    }
    guest.apply({ do: 'kick' });
    if (random(8) === 0) this.#parts.host?.(random);
    await turn();
  }

  #invent(guest: HostileDriver, queue: number, random: Random): readonly HostileAct[] {
    const kind = random(4);
    const request = kind > 0 ? this.#parts.request?.(random, queue) : undefined;
    if (request === undefined) return [guest.invent(random)];
    if (kind === 1) return guest.inventRequest(request.bytes, random);
    return guest.soundRequest(request.bytes, request.room, random);
  }

  #apply(guests: ReadonlyMap<number, HostileDriver>, act: GuestAct, acts?: GuestAct[]): void {
    acts?.push(act);
    if ('queue' in act) return guests.get(act.queue)?.apply(act.act);
    const { offset, bytes } = act.config;
    const { runner } = this.#driven;
    runner.writeConfig(offset, Buffer.from(bytes, 'hex'));
    runner.readConfig(offset, bytes.length / 2);
  }

  /** @throws when it takes more of the CPU than a request may, or the device itself throws */
  async #timed(run: () => Promise<void>): Promise<void> {
    const began = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(began);
    const ms = (user + system) / 1000;
    if (ms > MAX_CASE_MS) throw new Error(`a case took ${Math.round(ms)} ms of the CPU`);
    const log = this.#driven.log as string[];
    // What is wrong with a ring is said in a line; an error of the device has a stack.
    const thrown = log.find((line) => line.includes('\n    at '));
    log.length = 0;
    if (thrown !== undefined) throw new Error(thrown);
  }

  #found(error: unknown, { driver, features }: Required<Begin>, acts: readonly GuestAct[]): Found {
    const why = error instanceof Error ? error.message : String(error);
    const found: HostileCase = { why, driver, features: `0x${features.toString(16)}`, acts };
    return new Found(why, found);
  }
}
