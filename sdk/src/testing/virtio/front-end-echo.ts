// The simplest device behind a vhost-user back end: writes what it reads. For tests of front ends, and of the back end.

import { drainEventfd } from '../../linux/eventfd.ts';
import { type Watch, watch } from '../../linux/watch.ts';
import type { BackendDevice, QueueStart } from '../../virtio/backend-device.ts';
import { VIRTIO_F } from '../../virtio/constants.ts';
import { createVirtqueue, type Virtqueue } from '../../virtio/virtqueue.ts';

const bit = (number: number): bigint => 1n << BigInt(number);

export interface EchoDeviceOptions {
  /** Default 2. */
  readonly queues?: number;
  /** Largest size of each queue, default 256. */
  readonly queueSize?: number;
  /** Bytes of configuration space, default 16. */
  readonly configSize?: number;
}

export class EchoDevice implements BackendDevice {
  readonly features: bigint =
    bit(VIRTIO_F.version1) |
    bit(VIRTIO_F.eventIdx) |
    bit(VIRTIO_F.indirectDesc) |
    bit(VIRTIO_F.ringPacked) |
    bit(VIRTIO_F.inOrder);
  readonly queueCount: number;
  readonly queueSizes: readonly number[];
  readonly configSize: number;
  readonly config: Uint8Array;
  /** What happened to it, in words, the last 100 of them. */
  readonly events: string[] = [];
  /** Takes requests without ever ending them: what a process that is killed leaves behind. */
  hold = false;
  /** Bytes that a saved state consists of. */
  state: Uint8Array = Uint8Array.of(1, 2, 3);
  readonly #queues: ({ readonly queue: Virtqueue; readonly watch: Watch | undefined } | undefined)[] = [];

  constructor(options: EchoDeviceOptions = {}) {
    this.queueCount = options.queues ?? 2;
    this.queueSizes = Array.from({ length: this.queueCount }, () => options.queueSize ?? 256);
    this.configSize = options.configSize ?? 16;
    this.config = new Uint8Array(this.configSize);
  }

  queue(index: number): Virtqueue | undefined {
    return this.#queues[index]?.queue;
  }

  readConfig(offset: number, length: number): Uint8Array {
    return this.config.slice(offset, offset + length);
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    this.config.set(bytes, offset);
    this.#tell(`config ${offset}+${bytes.length}`);
  }

  setFeatures(features: bigint): void {
    this.#tell(`features 0x${features.toString(16)}`);
  }

  startQueue({ setup, kick }: QueueStart): void {
    const queue = createVirtqueue(setup);
    const serve = (): void => {
      drainEventfd(kick);
      this.serve(queue);
    };
    const watching = kick < 0 ? undefined : watch(kick, { readable: true }, serve).unref();
    this.#queues[setup.index] = { queue, watch: watching };
    this.#tell(`start ${setup.index} ${setup.size} ${setup.base}`);
    this.serve(queue);
  }

  async stopQueue(index: number): Promise<number> {
    const running = this.#queues[index];
    this.#queues[index] = undefined;
    running?.watch?.[Symbol.dispose]();
    this.#tell(`stop ${index}`);
    if (running === undefined) return 0;
    return this.hold ? running.queue.base() : running.queue.stop();
  }

  setCall(index: number, fd: number): void {
    this.#queues[index]?.queue.setCall(fd);
  }

  reset(): void {
    this.#tell('reset');
  }

  saveState(): Uint8Array {
    return this.state;
  }

  loadState(bytes: Uint8Array): void {
    if (bytes.length === 0) throw new RangeError('the state is empty');
    this.state = bytes.slice();
  }

  /** What a kick does; for queues without one. At most one ring full, so that an ill-behaved driver cannot keep it. */
  serve(queue: Virtqueue): void {
    for (let left = queue.size; left > 0; left -= 1) {
      const chain = queue.pop();
      if (chain === undefined) break;
      if (this.hold) continue;
      const bytes = new Uint8Array(Math.min(chain.readableBytes, chain.writableBytes));
      chain.read(bytes);
      queue.push(chain.head, chain.write(bytes));
    }
    queue.flush();
    queue.enableNotifications();
  }

  #tell(event: string): void {
    if (this.events.push(event) > 100) this.events.shift();
  }
}
