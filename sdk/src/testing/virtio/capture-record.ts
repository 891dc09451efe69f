// Where captures come from: either side of a queue, which notices nothing.

import type { Chain } from '../../virtio/chain.ts';
import type { Virtqueue } from '../../virtio/virtqueue.ts';
import type { CaptureWriter } from './capture.ts';
import type { DriverQueue, Template } from './driver.ts';

interface Segment {
  /** The bytes themselves, in guest memory. */
  readonly bytes: Uint8Array;
}

interface Outstanding {
  readonly request: number;
  readonly writable: readonly Segment[];
}

/** What a driver of the test kit submits and gets back is recorded until this is disposed of. */
export function captureDriver(queue: DriverQueue, index: number, writer: CaptureWriter): Disposable {
  const outstanding = new Map<number, Outstanding>();
  const { submit, next } = queue;
  const segments = ({ guest, length }: Template, from: number, to: number): Segment[] => {
    const list: Segment[] = [];
    for (let i = from; i < to; i += 1) list.push({ bytes: queue.ram.bytes(guest[i] as number, length[i] as number) });
    return list;
  };
  queue.submit = (template) => {
    if (!submit.call(queue, template)) return false;
    const readable = segments(template, 0, template.readable);
    const writable = segments(template, template.readable, template.count);
    outstanding.set(template.token, { request: record(writer, index, readable, writable), writable });
    return true;
  };
  queue.next = () => {
    if (!next.call(queue)) return false;
    finish(writer, index, outstanding, queue.doneToken, queue.doneWritten);
    return true;
  };
  return {
    [Symbol.dispose]() {
      queue.submit = submit;
      queue.next = next;
    },
  };
}

/**
 * The same queue, whose requests and answers are recorded: for a device, also one that a real guest uses. It copies what
 * passes, and is not meant for speed.
 */
export function captureVirtqueue(queue: Virtqueue, writer: CaptureWriter): Virtqueue {
  const outstanding = new Map<number, Outstanding>();
  const segments = (chain: Chain, from: number, to: number): Segment[] =>
    Array.from({ length: to - from }, (_, i) => ({ bytes: chain.bytes(from + i) }));
  return {
    get index() {
      return queue.index;
    },
    get size() {
      return queue.size;
    },
    get stats() {
      return queue.stats;
    },
    get broken() {
      return queue.broken;
    },
    get refusal() {
      return queue.refusal;
    },
    get outstanding() {
      return queue.outstanding;
    },
    pop() {
      const chain = queue.pop();
      if (chain === undefined) return undefined;
      const writable = segments(chain, chain.readable, chain.count);
      const request = record(writer, queue.index, segments(chain, 0, chain.readable), writable);
      outstanding.set(chain.head, { request, writable });
      return chain;
    },
    push(head, written) {
      // Before the driver can see it, and write over it.
      finish(writer, queue.index, outstanding, head, written);
      queue.push(head, written);
    },
    flush: () => queue.flush(),
    enableNotifications: () => queue.enableNotifications(),
    disableNotifications: () => queue.disableNotifications(),
    base: () => queue.base(),
    stop: () => queue.stop(),
    setCall: (fd) => queue.setCall(fd),
  };
}

function record(
  writer: CaptureWriter,
  queue: number,
  readable: readonly Segment[],
  writable: readonly Segment[],
): number {
  return writer.available(
    queue,
    readable.map(({ bytes }) => bytes),
    writable.map(({ bytes }) => bytes.length),
  );
}

function finish(
  writer: CaptureWriter,
  queue: number,
  outstanding: Map<number, Outstanding>,
  id: number,
  written: number,
): void {
  const done = outstanding.get(id);
  if (done === undefined) return;
  outstanding.delete(id);
  const bytes = Buffer.concat(done.writable.map((segment) => segment.bytes));
  writer.used(queue, done.request, Math.min(written, bytes.length), bytes.subarray(0, written));
}
