// The loop of a device process: from the driver's kick to used buffers. It serves all running queues of a device in
// turns: let the device take what is there, carry out its I/O, publish, and only when nothing is left ask for
// notifications again and go back to the event loop. While it works the driver's kicks are off.

import { availableParallelism } from 'node:os';
import { eventLoopOf } from '../linux/event-loop.ts';
import { drainEventfd } from '../linux/eventfd.ts';
import { pollOne } from '../linux/poll.ts';
import { type Watch, watch } from '../linux/watch.ts';
import { yieldCpu } from '../linux/yield.ts';
import type { IoEngine } from './device-io.ts';
import { DriverPace } from './driver-pace.ts';
import { QueueTracer, type TraceBatch } from './queue-tracer.ts';
import type { Virtqueue } from './virtqueue.ts';

/** Longest time away from the event loop (control channel, vhost-user messages), in ms. */
const SLICE_MS = 2;
/** Longest wait for the disk or a kick in one system call, in µs. */
const WAIT_US = 1_000;
/**
 * How long an idle turn waits for the next kick before it goes back to the event loop, which costs several µs more per
 * wake-up and more scheduling. Only after a turn that did something. A driver with one request at a time needs some 100 µs
 * from an answer to the next kick where the guest's CPU is a program. What the event loop has to say ends the wait too.
 */
const LINGER_US = 500;
/** The same, when it does not. */
const DEAF_LINGER_US = 50;
/**
 * How long it looks at the rings before that, with the driver's kicks still off: a sleep and a wake-up of this process cost
 * as much as a small request, and a kick costs the guest as much again. QEMU's I/O threads do the same (poll-max-ns).
 */
const SPIN_MS = 0.2;
/**
 * So many requests more one interrupt may wait for at most, each for so long: of a driver that keeps several in flight and
 * does not need the answer to the first to send the next. Interrupts are what costs such a guest most. Where more than these
 * were there at once, they share one anyhow.
 */
const GATHERED = 7;
const GATHER_MS = 0.15;
/** Nor do answers wait that took longer than this, beside which an interrupt is little. */
const QUICK_MS = 0.05;
/** Where the guest's CPU would have to wait for it, looking is in the way. */
const HAS_CPU_TO_SPARE = availableParallelism() > 1;

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
  /** The event loop's own descriptor, which is among #wake behind the kicks; −1: it is not known, −2: nor sought yet. */
  #eventLoop = -2;
  /** It may have something to say. */
  #isCalled = false;
  readonly #pace = new DriverPace(GATHERED);
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
    io.onWake = (fd) => {
      if (fd === this.#eventLoop) this.#isCalled = true;
      else drainEventfd(fd);
    };
  }

  get(index: number): Virtqueue | undefined {
    return this.#queues[index]?.face;
  }

  get queues(): readonly Virtqueue[] {
    return this.#running.map(({ face }) => face);
  }

  /** Indices of the queues that the device has failed. */
  get failed(): readonly number[] {
    return this.#running.filter(({ failed }) => failed).map(({ queue }) => queue.index);
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
    let spun = false;
    let found = 0;
    for (;;) {
      const began = performance.now();
      const popped = this.#processAll() + found;
      found = 0;
      const completed = io.inFlight > 0 ? io.run(0, this.#wake, 0) : 0;
      const isQuick = popped > 0 && popped <= GATHERED && performance.now() - began < QUICK_MS;
      if (isQuick && this.#maySpin()) {
        const more = this.#pace.mayWait();
        if (more > 0) this.#pace.waited(this.#gather(more));
      }
      this.#flushAll();
      if (popped > 0 || completed > 0) {
        if (popped > 0) this.#pace.requested();
        lingered = false;
        rechecked = false;
        spun = false;
        if (performance.now() < until) continue;
        this.schedule();
        return;
      }
      this.#pace.ranOut();
      if (!spun && this.#maySpin()) {
        spun = true;
        found = this.#spin(SPIN_MS);
        if (found > 0) continue;
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
      if (lingered || this.#scheduled || this.#paused || io.kind !== 'io_uring' || this.#mustReturn()) return;
      lingered = true;
      this.#linger();
    }
  }

  /** How many of `more` came. Answers that wait for a disk end it. */
  #gather(more: number): number {
    for (let came = 0; came < more; ) {
      const popped = this.#spin(GATHER_MS);
      if (popped === 0) return came;
      came += popped;
      if (this.#io.inFlight > 0) this.#io.run(0, this.#wake, 0);
      if (this.#io.inFlight > 0) return came;
    }
    return more;
  }

  #maySpin(): boolean {
    return this.#pace.isBrisk && HAS_CPU_TO_SPARE && this.#eventLoop >= 0 && !this.#paused && this.#io.inFlight === 0;
  }

  /** How many buffers were taken. Ends early when the event loop has something to say. */
  #spin(ms: number): number {
    const until = performance.now() + ms;
    do {
      const popped = this.#processAll();
      if (popped > 0) return popped;
      // The VMM's own thread, which passes on the interrupt, may wait for this CPU.
      yieldCpu();
    } while (!pollOne(this.#eventLoop, 'readable', 0) && performance.now() < until);
    return 0;
  }

  #linger(): void {
    const kicks = this.#running.length;
    const isKnown = this.#eventLoop >= 0 && kicks < this.#wake.length;
    this.#io.run(isKnown ? LINGER_US : DEAF_LINGER_US, this.#wake, isKnown ? kicks + 1 : kicks);
  }

  /** Whether the event loop has something to say. A kick that was heard here calls it as well. */
  #mustReturn(): boolean {
    if (!this.#isCalled) return false;
    this.#isCalled = false;
    return pollOne(this.#eventLoop, 'readable', 0);
  }

  #placeEventLoop(): void {
    const at = this.#running.length;
    if (at < this.#wake.length) this.#wake[at] = this.#eventLoop;
  }

  /** How many buffers were taken. */
  #processAll(): number {
    if (this.#paused) return 0;
    const running = this.#running;
    let popped = 0;
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
      popped += queue.stats.popped + queue.stats.refused - before;
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
    if (this.#eventLoop === -2) {
      // It has just told of this kick.
      this.#eventLoop = eventLoopOf(kick) ?? -1;
      this.#placeEventLoop();
    }
    drainEventfd(kick);
    this.turn();
  }

  #changed(): void {
    this.#running = this.#queues.filter((one) => one !== undefined);
    this.#wake.fill(-1);
    this.#running.slice(0, this.#wake.length).forEach(({ kick }, at) => {
      this.#wake[at] = kick;
    });
    this.#placeEventLoop();
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
