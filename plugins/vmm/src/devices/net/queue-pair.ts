// One queue for each direction, and the port that they share. Whatever happens to one of the two, frames of the other go on.

import { type Watch, watch } from '@runtime/sdk/linux';
import type { Virtqueue } from '@runtime/sdk/virtio';
import { GONE, NOTHING, type Port } from './port.ts';
import { HEADER_BYTES, MAX_FRAME, MIN_FRAME } from './protocol.ts';
import type { RxFilter } from './rx-filter.ts';
import { Delivery, RxQueue } from './rx-queue.ts';
import type { NetStats } from './stats.ts';

/** Frames for one turn in each direction; the loop comes back for more when others had theirs. */
const TURN_FRAMES = 64;

const READABLE = 1;
const WRITABLE = 2;

export interface PairOwner {
  readonly stats: NetStats;
  readonly filter: RxFilter;
  /** Frames pass; else they are taken and dropped. */
  readonly isUp: boolean;
  wake(): void;
  /** The port has no other side any more. */
  gone(): void;
}

export class QueuePair {
  readonly rx: RxQueue;
  #port: Port | undefined;
  readonly #owner: PairOwner;
  #watch: Watch | undefined;
  /** READABLE and WRITABLE; −1: there is no watch. */
  #interest = -1;
  /** Frames may be waiting in the port. */
  #mayReceive = false;
  /** Length, with its header, of a frame that waits for buffers; 0: none. */
  #pending = 0;
  #rxRunning = false;
  #attached = true;

  constructor(owner: PairOwner) {
    this.#owner = owner;
    this.rx = new RxQueue(owner.stats);
  }

  get port(): Port | undefined {
    return this.#port;
  }

  get pending(): number {
    return this.#pending;
  }

  /** Takes a port, which is the pair's to dispose of. `undefined`: there is none for now. */
  connect(port: Port | undefined, rxQueue: Virtqueue | undefined): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#interest = -1;
    if (rxQueue !== undefined) this.rx.giveBack(rxQueue);
    this.#pending = 0;
    this.#port?.[Symbol.dispose]();
    this.#port = port;
    if (port !== undefined) this.#watch = watch(port.fd, {}, (ready) => this.#ready(ready));
    this.#mayReceive = port !== undefined;
    this.#rearm();
  }

  setRxRunning(running: boolean): void {
    this.#rxRunning = running;
    if (!running) this.rx.forget();
    this.#mayReceive = this.#port !== undefined;
    this.#rearm();
  }

  /** Whether the host gives frames to this pair. */
  setAttached(attached: boolean): void {
    this.#attached = attached;
    this.#mayReceive = attached;
    this.#rearm();
  }

  #ready({ readable, writable }: { readonly readable: boolean; readonly writable: boolean }): void {
    const port = this.#port;
    if (port === undefined) return;
    if (writable) port.drain();
    if (readable) this.#mayReceive = true;
    this.#rearm();
    this.#owner.wake();
  }

  /** Waits only for what can be used: the rest would be told again and again. */
  #rearm(): void {
    const readable = this.#rxRunning && this.#attached && this.#pending === 0;
    const writable = this.#port?.isFull === true;
    const interest = (readable ? READABLE : 0) | (writable ? WRITABLE : 0);
    if (interest === this.#interest) return;
    this.#interest = interest;
    this.#watch?.setInterest({ readable, writable });
  }

  /** The driver may have given buffers, or the host frames. */
  receive(queue: Virtqueue): void {
    const port = this.#port;
    if (port === undefined || !(this.#mayReceive || this.#pending > 0)) return;
    for (let frames = 0; frames < TURN_FRAMES; frames++) {
      if (this.#pending === 0 && !this.#next(port)) return;
      if (this.#pending === 0) continue;
      const outcome = this.rx.deliver(queue, port, this.#pending);
      if (outcome === Delivery.starved) {
        if ((this.#interest & READABLE) !== 0) this.#owner.stats.rxStarved += 1;
        this.#rearm();
        return;
      }
      if (outcome === Delivery.refused) this.#owner.stats.rxMalformed += 1;
      this.#pending = 0;
    }
    this.#rearm();
    // The loop comes back by itself only when buffers were taken.
    this.#owner.wake();
  }

  /** False when the port has none. A frame that the guest does not get leaves nothing pending. */
  #next(port: Port): boolean {
    const length = port.receive();
    if (length <= NOTHING) {
      this.#mayReceive = false;
      this.#rearm();
      if (length === GONE) this.#owner.gone();
      return false;
    }
    const { isUp, filter, stats } = this.#owner;
    if (isUp && filter.passes(port.bytes, port.at + HEADER_BYTES)) this.#pending = length;
    else stats.rxFiltered += 1;
    return true;
  }

  /** The driver may have given frames. */
  send(queue: Virtqueue): void {
    const { stats, isUp } = this.#owner;
    const port = this.#port;
    for (let frames = 0; frames < TURN_FRAMES; frames++) {
      if (isUp && (port === undefined || port.isFull)) return;
      const chain = queue.pop();
      if (chain === undefined) return;
      const length = chain.readableBytes - HEADER_BYTES;
      if (length < MIN_FRAME || length > MAX_FRAME) stats.txMalformed += 1;
      else if (!isUp || port === undefined) stats.txDropped += 1;
      else port.send(chain);
      queue.push(chain.head, 0);
      if (port?.isFull === true) this.#rearm();
    }
  }

  /** Leaves the port's descriptor open. */
  dispose(): void {
    this.#watch?.[Symbol.dispose]();
    this.#port?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#port = undefined;
  }
}
