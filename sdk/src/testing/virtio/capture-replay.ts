// A capture against another version of the device: the same requests, at the same time as others as then, and what
// comes back compared.

import { onReadable } from '../../linux/poll.ts';
import type { AvailableEvent, CaptureEvent, UsedEvent } from './capture.ts';
import { parseCapture } from './capture.ts';
import type { Completion, DriverQueue } from './driver.ts';

/** Whatever has queues: a VhostUserFrontEnd, a device that is driven in this process. */
export interface ReplayTarget {
  queue(index: number): DriverQueue;
}

export interface ReplayOptions {
  /** False: only how much was written counts. Default true. */
  readonly data?: boolean;
  /** For each request, default 5,000. */
  readonly timeoutMs?: number;
}

export interface ReplayDifference {
  readonly request: number;
  readonly queue: number;
  /** `missing`: nothing was used in time; the replay ends with that. */
  readonly what: 'written' | 'data' | 'missing';
  readonly expected: number | string;
  readonly actual: number | string;
}

export interface ReplayReport {
  readonly requests: number;
  /** Requests that were used in the capture, and so could be compared. */
  readonly compared: number;
  /** At most 100 of them. */
  readonly differences: readonly ReplayDifference[];
}

const MAX_DIFFERENCES = 100;
/** Of a difference, in hex. */
const EXCERPT = 16;

/** @throws SDK_ERR_CAPTURE when it is none; RangeError when the target has no such queue, or no room for a request */
export async function replayCapture(
  capture: Uint8Array,
  target: ReplayTarget,
  options: ReplayOptions = {},
): Promise<ReplayReport> {
  return new Replay(target, options).run(parseCapture(capture));
}

class Replay {
  readonly #target: ReplayTarget;
  readonly #data: boolean;
  readonly #timeoutMs: number;
  /** By queue and token: which request it is. */
  readonly #running = new Map<string, number>();
  readonly #completions = new Map<number, Completion>();
  readonly #differences: ReplayDifference[] = [];

  constructor(target: ReplayTarget, { data = true, timeoutMs = 5_000 }: ReplayOptions) {
    this.#target = target;
    this.#data = data;
    this.#timeoutMs = timeoutMs;
  }

  async run(events: readonly CaptureEvent[]): Promise<ReplayReport> {
    let requests = 0;
    let compared = 0;
    for (const event of events) {
      if (event.kind === 'available') requests += 1;
      else compared += 1;
      const goesOn = await (event.kind === 'available' ? this.#submit(event) : this.#compare(event));
      if (!goesOn) break;
    }
    return { requests, compared, differences: this.#differences };
  }

  /** False when the device stands still. */
  async #submit({ queue: index, request, readable, writable }: AvailableEvent): Promise<boolean> {
    const queue = this.#target.queue(index);
    for (;;) {
      const token = queue.add(readable, writable);
      if (token >= 0) {
        this.#running.set(`${index}/${token}`, request);
        return true;
      }
      // The ring may be smaller than the one then: wait for what is under way.
      if (queue.outstanding === 0) throw new RangeError(`queue ${index} has no room for request ${request}`);
      if (await this.#more(index, queue)) continue;
      this.#differ({ request, queue: index, what: 'missing', expected: 'a place in the ring', actual: 'nothing' });
      return false;
    }
  }

  /** False when the device stands still. */
  async #compare({ queue: index, request, written, data }: UsedEvent): Promise<boolean> {
    const queue = this.#target.queue(index);
    queue.kick();
    this.#collect(index, queue);
    while (!this.#completions.has(request)) {
      if (await this.#more(index, queue)) continue;
      this.#differ({ request, queue: index, what: 'missing', expected: written, actual: 'nothing' });
      return false;
    }
    const completion = this.#completions.get(request) as Completion;
    this.#completions.delete(request);
    if (completion.written !== written) {
      this.#differ({ request, queue: index, what: 'written', expected: written, actual: completion.written });
      return true;
    }
    const actual = completion.data.subarray(0, data.length);
    const at = this.#data ? data.findIndex((byte, i) => byte !== actual[i]) : -1;
    if (at < 0) return true;
    this.#differ({ request, queue: index, what: 'data', expected: excerpt(data, at), actual: excerpt(actual, at) });
    return true;
  }

  /** Waits until more was used. False: not in time. */
  async #more(index: number, queue: DriverQueue): Promise<boolean> {
    queue.kick();
    const deadline = performance.now() + this.#timeoutMs;
    for (;;) {
      if (this.#collect(index, queue) > 0) return true;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      if (queue.enableInterrupts()) await readable(queue.callFd, left);
      queue.interrupted();
    }
  }

  #collect(index: number, queue: DriverQueue): number {
    const completions = queue.used();
    for (const completion of completions) {
      const key = `${index}/${completion.token}`;
      const request = this.#running.get(key);
      if (request === undefined) continue;
      this.#running.delete(key);
      this.#completions.set(request, completion);
    }
    return completions.length;
  }

  #differ(difference: ReplayDifference): void {
    if (this.#differences.length < MAX_DIFFERENCES) this.#differences.push(difference);
  }
}

function excerpt(bytes: Uint8Array, at: number): string {
  return `…${at}: ${Buffer.from(bytes.subarray(at, at + EXCERPT)).toString('hex')}`;
}

function readable(fd: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      waiting[Symbol.dispose]();
      resolve();
    };
    const timer = setTimeout(done, timeoutMs);
    const waiting = onReadable(fd, done);
  });
}
