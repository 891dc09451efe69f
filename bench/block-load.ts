// The driver's side of a virtio-blk queue: a fixed set of requests that are sent again and again, as quick as a driver can
// be. Both back ends of a comparison get the same one.

import { drainEventfd, waitReadable } from '@runtime/sdk/linux';
import type { DriverQueue, GuestRam, Template } from '@runtime/sdk/testing';

export interface Workload {
  readonly type: 'read' | 'write';
  /** Bytes of each request, a multiple of 512. */
  readonly bytes: number;
  /** Requests in flight. */
  readonly depth: number;
  readonly order: 'random' | 'sequential';
}

const SECTOR = 512;
const HEADER_BYTES = 16;
const STALLED_MS = 10_000;

interface Slot {
  readonly template: Template;
  /** struct virtio_blk_outhdr, and the status. */
  readonly header: Uint32Array;
  readonly status: Uint8Array;
}

export class BlockLoad {
  readonly #queue: DriverQueue;
  readonly #workload: Workload;
  readonly #wait: Int32Array;
  readonly #places: number;
  readonly #slots: readonly Slot[];
  /** By token of the template. */
  readonly #byToken: Slot[] = [];
  #next = 0;
  #seed = 12_345;

  /** @param capacity bytes of the disk */
  constructor(ram: GuestRam, queue: DriverQueue, capacity: number, workload: Workload) {
    this.#queue = queue;
    this.#workload = workload;
    this.#wait = Int32Array.of(queue.callFd);
    this.#places = Math.floor(capacity / workload.bytes);
    this.#slots = Array.from({ length: workload.depth }, () => this.#makeSlot(ram));
    for (const slot of this.#slots) this.#byToken[slot.template.token] = slot;
  }

  /** Carries out `count` requests. @throws when one fails or the back end stalls */
  run(count: number): number {
    const queue = this.#queue;
    let left = count;
    for (const slot of this.#slots) {
      if (left === 0) break;
      this.#send(slot);
      left -= 1;
    }
    queue.kick();
    for (let done = 0; done < count; ) {
      if (!queue.next()) {
        this.#sleep();
        continue;
      }
      do {
        const slot = this.#byToken[queue.doneToken] as Slot;
        if (slot.status[0] !== 0) throw new Error(`a request ended with status ${slot.status[0]}`);
        done += 1;
        if (left === 0) continue;
        this.#send(slot);
        left -= 1;
      } while (queue.next());
      queue.kick();
    }
    return count;
  }

  #makeSlot(ram: GuestRam): Slot {
    const { type, bytes } = this.#workload;
    const isRead = type === 'read';
    const header = ram.alloc(HEADER_BYTES);
    const data = ram.alloc(bytes, 4096);
    const status = ram.alloc(1);
    const segments = [
      [header, HEADER_BYTES],
      [data, bytes],
      [status, 1],
    ] as const;
    const template = this.#queue.template(segments, isRead ? 1 : 2);
    if (template === undefined) throw new RangeError('the queue is too small');
    const headerBytes = ram.bytes(header, HEADER_BYTES);
    const words = new Uint32Array(headerBytes.buffer, headerBytes.byteOffset, HEADER_BYTES / 4);
    words[0] = isRead ? 0 : 1;
    return { template, header: words, status: ram.bytes(status, 1) };
  }

  #send({ template, header, status }: Slot): void {
    const { bytes, order } = this.#workload;
    const place = order === 'random' ? this.#random() : this.#next++;
    header[2] = (place % this.#places) * (bytes / SECTOR);
    status[0] = 0xff;
    if (!this.#queue.submit(template)) throw new RangeError('the queue is full');
  }

  /** Asks for an interrupt and waits for it. */
  #sleep(): void {
    if (!this.#queue.enableInterrupts()) return;
    if (waitReadable(this.#wait, STALLED_MS) < 0) throw new Error('the back end has answered nothing for 10 s');
    drainEventfd(this.#queue.callFd);
  }

  /** xorshift32: the same places for both sides. */
  #random(): number {
    let x = this.#seed;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#seed = x;
    return x >>> 0;
  }
}
