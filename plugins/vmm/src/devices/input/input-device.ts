// Events of the runtime for the guest, and what the guest says back (the lights of a keyboard).

import type { DeviceContext, DeviceInstance, DeviceStats, Virtqueue } from '@runtime/sdk/virtio';
import { errors } from '../../errors.ts';
import { EV, EVENT_BYTES, SYN_REPORT } from './codes.ts';
import { answerSelect } from './config-select.ts';
import type { InputOptions } from './options.ts';
import { PROFILES, problemOf } from './profiles.ts';

const EVENT_QUEUE = 0;
/** Kept while the guest gives no buffers; more, and whole requests are dropped. */
const MAX_WAITING = 1024;
/** In one request; a report with its SYN_REPORT is a handful. */
const MAX_EVENTS = 256;
const TURN_STATUS = 64;

export interface InputState {
  /** Type, code, value of events that the guest has not got. */
  readonly waiting: readonly number[];
  /** Bit by LED code. */
  readonly leds: number;
}

interface InputStats extends DeviceStats {
  events: number;
  /** Events of requests that found no room. */
  dropped: number;
  status: number;
  malformed: number;
}

export class InputDevice implements DeviceInstance<InputState> {
  readonly #device: DeviceContext<InputOptions, InputState>;
  readonly #stats: InputStats;
  /** Three numbers for each event; a ring. */
  readonly #waiting = new Int32Array(MAX_WAITING * 3);
  #first = 0;
  #count = 0;
  #leds: number;
  readonly #bytes = new Uint8Array(EVENT_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(device: DeviceContext<InputOptions, InputState>) {
    this.#device = device;
    this.#stats = Object.assign(device.stats, { events: 0, dropped: 0, status: 0, malformed: 0, ...device.stats });
    const { waiting = [], leds = 0 } = device.previous?.state ?? {};
    this.#leds = leds;
    for (let i = 0; i + 2 < waiting.length; i += 3) {
      this.#enqueue(waiting[i] as number, waiting[i + 1] as number, waiting[i + 2] as number);
    }
  }

  process(queue: Virtqueue): void {
    if (queue.index === EVENT_QUEUE) this.#deliver(queue);
    else this.#status(queue);
  }

  configWritten(): void {
    answerSelect(this.#device.config.bytes, this.#device.options);
  }

  handle(method: string, params: unknown): unknown {
    if (method === 'state') return { leds: this.#leds, waiting: this.#count };
    if (method !== 'event') throw refuse(`request "${method}" is unknown`);
    const { events } = (params ?? {}) as { readonly events?: unknown };
    if (!Array.isArray(events) || events.length === 0 || events.length > MAX_EVENTS)
      throw refuse(`events must be a list of 1 to ${MAX_EVENTS} [type, code, value]`);
    const list = events.map((event) => this.#check(event));
    const [lastType] = list.at(-1) ?? [];
    // Without it the guest's programs do not look.
    if (lastType !== EV.syn) list.push([EV.syn, SYN_REPORT, 0]);
    if (this.#count + list.length > MAX_WAITING) {
      // Half a report would leave a key down.
      this.#stats.dropped += list.length;
      return { queued: 0, dropped: list.length };
    }
    for (const [type, code, value] of list) this.#enqueue(type, code, value);
    this.#device.wake();
    return { queued: list.length, dropped: 0 };
  }

  snapshot(): InputState {
    const waiting = Array.from({ length: this.#count * 3 }, (_, i) => this.#waiting[this.#at(i)] as number);
    return { waiting, leds: this.#leds };
  }

  reset(): void {
    this.#count = 0;
    this.#leds = 0;
    this.#device.config.bytes.fill(0);
  }

  #check(event: unknown): readonly [type: number, code: number, value: number] {
    if (!Array.isArray(event) || event.length !== 3) throw refuse('an event is [type, code, value]');
    const [type, code, value] = event as [number, number, number];
    if (type === EV.syn && code === SYN_REPORT) return [type, code, 0];
    const problem = problemOf(PROFILES[this.#device.options.profile], type, code, value);
    if (problem !== undefined) throw refuse(problem);
    return [type, code, value];
  }

  #at(index: number): number {
    return (this.#first * 3 + index) % this.#waiting.length;
  }

  #enqueue(type: number, code: number, value: number): void {
    const at = this.#at(this.#count * 3);
    this.#waiting[at] = type;
    this.#waiting[at + 1] = code;
    this.#waiting[at + 2] = value;
    this.#count += 1;
  }

  /** A buffer is taken only for an event that is there. */
  #deliver(queue: Virtqueue): void {
    while (this.#count > 0) {
      const chain = queue.pop();
      if (chain === undefined) return;
      if (chain.writableBytes < EVENT_BYTES) {
        this.#stats.malformed += 1;
        queue.push(chain.head, 0);
        continue;
      }
      const at = this.#at(0);
      this.#view.setUint16(0, this.#waiting[at] as number, true);
      this.#view.setUint16(2, this.#waiting[at + 1] as number, true);
      this.#view.setInt32(4, this.#waiting[at + 2] as number, true);
      queue.push(chain.head, chain.write(this.#bytes));
      this.#first = (this.#first + 1) % MAX_WAITING;
      this.#count -= 1;
      this.#stats.events += 1;
    }
  }

  #status(queue: Virtqueue): void {
    for (let i = 0; i < TURN_STATUS; i++) {
      const chain = queue.pop();
      if (chain === undefined) return;
      const isRight = chain.readableBytes === EVENT_BYTES;
      if (isRight) this.#light(chain.readU16(0), chain.readU16(2), chain.readU32(4));
      this.#stats[isRight ? 'status' : 'malformed'] += 1;
      queue.push(chain.head, 0);
    }
  }

  #light(type: number, code: number, value: number): void {
    const known = PROFILES[this.#device.options.profile].codes.get(EV.led);
    if (type !== EV.led || known?.includes(code) !== true) return;
    this.#leds = value === 0 ? this.#leds & ~(1 << code) : this.#leds | (1 << code);
  }
}

const refuse = (why: string): Error => errors.VMM_ERR_INPUT({ details: { why } });
