// The loop of a device process: from the driver's kick to used buffers. It serves all running queues of a device in
// turns: let the device take what is there, carry out its I/O, publish, and only when nothing is left ask for
// notifications again and go back to the event loop. While it works the driver's kicks are off.

import { drainEventfd } from '../linux/eventfd.ts';
import { type Watch, watch } from '../linux/watch.ts';
import type { IoEngine } from './device-io.ts';
import { QueueTracer, type TraceBatch } from './queue-tracer.ts';
import type { Virtqueue } from './virtqueue.ts';

/** Longest time away from the event loop (control channel, vhost-user messages), in ms. */
const SLICE_MS = 2;
/** Longest wait for the disk or a kick in one system call, in µs. */
const WAIT_US = 1_000;
/**
 * How long an idle turn waits for the next kick before it goes back to the event loop, which costs several µs more per
 * wake-up. Only after a turn that did something.
 */
const LINGER_US = 50;

/** A queue whose driver has set it up. */
interface Running {
  readonly queue: Virtqueue;
  /** What the device sees: the queue itself, unless it is traced. */
  face: Virtqueue;
  readonly kick: number;
  readonly watch: Watch | undefined;
  /** Takes no more: it is about to stop. */
  draining: boolean;
  /** The device threw while it served it: what is outstanding will never end. */
  failed: boolean;
}

/**
 * Nothing more can come of the queue. What a broken one has outstanding may never end, but the kernel must have let go of
 * the memory of the guest, which may be unmapped next.
 */
const isDone = ({ queue, failed }: Running, io: IoEngine): boolean =>
  queue.outstanding === 0 || ((failed || queue.broken !== undefined) && io.inFlight === 0);

export interface LoopClient {
  process(queue: Virtqueue): void;
  complete(token: number, result: number): void;
  /** The queue takes no more: what is held back of it must be given back. */
  stopping(queue: Virtqueue): void;
  /** The device threw, or the ring is broken: the queue serves no more until the driver sets it up anew. */
  failed(queue: Virtqueue, why: unknown): void;
}

export class DeviceLoop {
  readonly #client: LoopClient;
  readonly #io: IoEngine;
  readonly #queues: (Running | undefined)[] = [];
  #running: readonly Running[] = [];
  readonly #wake = new Int32Array(64).fill(-1);
  #paused = false;
  #closed = false;
  #scheduled = false;
  #inTurn = false;
  readonly #idleWaiters: (() => void)[] = [];
  readonly #tracer = new QueueTracer(() => {
    for (const one of this.#running) one.face = this.#tracer.wrap(one.queue);
  });

  constructor(client: LoopClient, io: IoEngine) {
    this.#client = client;
    this.#io = io;
    io.onComplete = (token, result) => this.#completed(token, result);
    io.onWake = (kick) => drainEventfd(kick);
  }

  get(index: number): Virtqueue | undefined {
    return this.#queues[index]?.face;
  }

  get queues(): readonly Virtqueue[] {
    return this.#running.map(({ face }) => face);
  }

  add(queue: Virtqueue, kick: number): void {
    const watched = kick < 0 ? undefined : watch(kick, { readable: true }, () => this.#kicked(kick));
    const face = this.#tracer.wrap(queue);
    this.#queues[queue.index] = { queue, face, kick, watch: watched, draining: false, failed: false };
    this.#changed();
    this.schedule();
  }

  /** Takes nothing more from the queue and ends when nothing of it is outstanding. */
  async remove(index: number): Promise<Virtqueue | undefined> {
    const running = this.#queues[index];
    if (running === undefined) return undefined;
    running.draining = true;
    running.watch?.[Symbol.dispose]();
    this.#client.stopping(running.face);
    await this.#idle(() => isDone(running, this.#io));
    this.#queues[index] = undefined;
    this.#changed();
    return running.queue;
  }

  /** Requests since the last call; the first one begins to collect them. */
  trace(): TraceBatch {
    return this.#tracer.fetch();
  }

  /** Takes nothing more from any queue, until resumed. */
  pause(): void {
    this.#paused = true;
  }

  /** Ends when nothing is outstanding. */
  async drained(): Promise<void> {
    await this.#idle(() => this.#io.inFlight === 0 && this.#running.every((one) => isDone(one, this.#io)));
  }

  /** No turn follows. The rings and descriptors may be gone afterwards. */
  close(): void {
    this.#closed = true;
    for (const { watch: watched } of this.#running) watched?.[Symbol.dispose]();
    this.#queues.length = 0;
    this.#changed();
  }

  resume(): void {
    this.#paused = false;
    this.schedule();
  }

  /** A turn soon. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.turn();
    });
  }

  /** Serves until nothing is left to do, or for as long as one turn may take. */
  turn(): void {
    // Device code that publishes from a watch may end up here again.
    if (this.#inTurn || this.#closed) return;
    this.#inTurn = true;
    try {
      this.#serve();
    } finally {
      this.#inTurn = false;
    }
    this.#tellIdle();
  }

  #serve(): void {
    const io = this.#io;
    const until = performance.now() + SLICE_MS;
    let lingered = false;
    let rechecked = false;
    for (;;) {
      const popped = this.#processAll();
      const completed = io.inFlight > 0 ? io.run(0, this.#wake, 0) : 0;
      this.#flushAll();
      if (popped || completed > 0) {
        lingered = false;
        rechecked = false;
        if (performance.now() < until) continue;
        this.schedule();
        return;
      }
      // Buffers may have come before the driver could know that kicks count again. What the device leaves even when it is
      // asked once more waits for the outside world (packets for the guest), which wakes the loop by itself.
      if (!this.#askForKicks() && !rechecked) {
        rechecked = true;
        continue;
      }
      if (io.inFlight > 0) {
        if (io.run(WAIT_US, this.#wake, this.#running.length) > 0) this.#flushAll();
        if (performance.now() < until) continue;
        this.schedule();
        return;
      }
      if (lingered || this.#paused || io.kind !== 'io_uring') return;
      lingered = true;
      io.run(LINGER_US, this.#wake, this.#running.length);
    }
  }

  /** True when a buffer was taken. */
  #processAll(): boolean {
    if (this.#paused) return false;
    const running = this.#running;
    let popped = false;
    for (let i = 0; i < running.length; i++) {
      const one = running[i] as Running;
      if (one.draining || one.queue.broken !== undefined) continue;
      const { queue } = one;
      const before = queue.stats.popped + queue.stats.refused;
      queue.disableNotifications();
      try {
        this.#client.process(one.face);
      } catch (e) {
        this.#fail(one, e);
        continue;
      }
      if (queue.broken !== undefined) this.#client.failed(queue, queue.broken);
      if (queue.stats.popped + queue.stats.refused !== before) popped = true;
    }
    return popped;
  }

  /** Which request it was about only the device knew: none of its queues can be trusted to be complete any more. */
  #completed(token: number, result: number): void {
    try {
      this.#client.complete(token, result);
    } catch (e) {
      for (const one of this.#running) this.#fail(one, e);
    }
  }

  #fail(one: Running, why: unknown): void {
    one.draining = true;
    one.failed = true;
    this.#client.failed(one.queue, why);
  }

  #flushAll(): void {
    const running = this.#running;
    for (let i = 0; i < running.length; i++) (running[i] as Running).queue.flush();
  }

  /** False when a queue has buffers all the same. */
  #askForKicks(): boolean {
    if (this.#paused) return true;
    const running = this.#running;
    let quiet = true;
    for (let i = 0; i < running.length; i++) {
      const { draining, queue } = running[i] as Running;
      if (draining || queue.broken !== undefined) continue;
      if (!queue.enableNotifications()) quiet = false;
    }
    return quiet;
  }

  #kicked(kick: number): void {
    drainEventfd(kick);
    this.turn();
  }

  #changed(): void {
    this.#running = this.#queues.filter((one) => one !== undefined);
    this.#wake.fill(-1);
    this.#running.slice(0, this.#wake.length).forEach(({ kick }, at) => {
      this.#wake[at] = kick;
    });
  }

  #idle(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (condition()) resolve();
        else this.#idleWaiters.push(check);
      };
      check();
      this.schedule();
    });
  }

  #tellIdle(): void {
    for (const check of this.#idleWaiters.splice(0)) check();
  }
}
