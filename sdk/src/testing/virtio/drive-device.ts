// A device definition at work in this process, with a driver on the other side of its queues: no VM, no vhost-user.

import type { ControlMessage, Device } from '../../virtio/device.ts';
import { createIoEngine } from '../../virtio/device-io-engine.ts';
import { DeviceRunner } from '../../virtio/device-runner.ts';
import type { Completion, DriverOptions, DriverQueue } from './driver.ts';
import { createDriverQueue } from './driver-queue.ts';
import { createGuestRam, type GuestRam } from './guest-ram.ts';

/** A device that has not answered after this many ms never will. */
const DEADLINE_MS = 5_000;
const VERSION_1 = 1n << 32n;

export interface DriveOptions {
  /** As the description of a VM would have them; the device's schema checks them. */
  readonly options?: unknown;
  /** By the names that the device knows; the caller's to close. */
  readonly fds?: Readonly<Record<string, number>>;
  /** Bytes of guest memory, default 16 MiB. Or memory that is there; the caller's to dispose of. */
  readonly ram?: number | GuestRam;
  /** Of the rings. Their size is at most the queue's. */
  readonly driver?: DriverOptions;
  /** Device-specific feature bits that the driver accepts; default: all that are offered. */
  readonly features?: bigint;
  /** Queues that the driver sets up; default all. */
  readonly queues?: readonly number[];
  readonly io?: 'io_uring' | 'sync';
  /** Answers `device.request`. */
  readonly request?: (method: string, params: unknown, fds: readonly number[]) => Promise<ControlMessage>;
}

/** What a driver may do otherwise each time it begins. */
export type Begin = Pick<DriveOptions, 'driver' | 'features'>;

export class DrivenDevice implements AsyncDisposable {
  readonly runner: DeviceRunner;
  readonly ram: GuestRam;
  /** By index; queues that the driver has not set up are left out. Others after reset(). */
  queues: readonly DriverQueue[];
  /** What the device has logged. */
  readonly log: readonly string[];
  /** Changes of the configuration space that the driver was told of. */
  configChanges = 0;
  readonly #ownRam: boolean;
  readonly #setUp: (begin: Begin) => readonly DriverQueue[];

  constructor(parts: {
    runner: DeviceRunner;
    ram: GuestRam;
    ownRam: boolean;
    setUp: (begin: Begin) => readonly DriverQueue[];
    log: readonly string[];
  }) {
    this.runner = parts.runner;
    this.ram = parts.ram;
    this.#setUp = parts.setUp;
    this.queues = parts.setUp({});
    this.log = parts.log;
    this.#ownRam = parts.ownRam;
    parts.runner.link = {
      notifyConfigChange: () => this.configChanges++,
      queueBroken: () => {},
      queueMended: () => {},
    };
  }

  get stats(): Readonly<Record<string, number>> {
    return this.runner.stats;
  }

  /** @throws RangeError when the driver has not set it up */
  queue(index = 0): DriverQueue {
    const queue = this.queues[index];
    if (queue === undefined) throw new RangeError(`the driver has no queue ${index}`);
    return queue;
  }

  /** One request: bytes for the device, lengths of buffers for it to fill; what came back. @throws when nothing comes */
  async exchange(readable: readonly Uint8Array[], writable: readonly number[], queue: number = 0): Promise<Completion> {
    const driver = this.queue(queue);
    if (driver.add(readable, writable) < 0) throw new RangeError('the ring is full');
    driver.kick();
    const [completion] = await this.completions(1, queue);
    return completion as Completion;
  }

  /** Waits until that many requests have ended. @throws when they do not */
  async completions(count: number, queue: number = 0): Promise<readonly Completion[]> {
    const driver = this.queue(queue);
    const completions: Completion[] = [];
    await until(
      () => {
        completions.push(...driver.used());
        return completions.length >= count;
      },
      () => `${completions.length} of ${count} requests have ended`,
    );
    return completions;
  }

  /** What a driver does that begins anew, perhaps with other rings: resets the device and sets its queues up once more. */
  async reset(begin: Begin = {}): Promise<void> {
    for (const index of this.queues.keys()) await this.runner.stopQueue(index);
    this.runner.reset();
    for (const queue of this.queues) queue?.[Symbol.dispose]();
    this.queues = this.#setUp(begin);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runner.close();
    for (const queue of this.queues) queue?.[Symbol.dispose]();
    if (this.#ownRam) this.ram[Symbol.dispose]();
  }
}

/** Waits for what must come. @throws telling what came instead */
async function until(condition: () => boolean, instead: () => string): Promise<void> {
  const end = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain: ${instead()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** @throws what the device throws in its setup, SDK_ERR_DEVICE */
export async function driveDevice<O, S>(device: Device<O, S>, drive: DriveOptions = {}): Promise<DrivenDevice> {
  const log: string[] = [];
  const write = (message: string): void => void log.push(message);
  const runner = await DeviceRunner.create({
    id: `${device.name}0`,
    device: device,
    options: drive.options ?? {},
    fds: drive.fds ?? {},
    io: createIoEngine(drive.io),
    log: { info: write, warn: write },
    request: (method, params, fds = []) =>
      drive.request?.(method, params, fds) ?? Promise.reject(new Error(`nobody answers "${method}"`)),
  });
  const ram = drive.ram instanceof Object ? drive.ram : createGuestRam(drive.ram ?? 16 * 1024 * 1024);
  const indexes = drive.queues ?? runner.queueSizes.map((_, index) => index);
  const setUp = (begin: Begin): readonly DriverQueue[] => {
    const { driver = {}, features = runner.features & ~(0x3_ffffn << 24n) } = { ...drive, ...begin };
    runner.setFeatures(ringBits(driver) | features);
    const queues: DriverQueue[] = [];
    for (const index of indexes) {
      const size = Math.min(driver.size ?? 64, runner.queueSizes[index] ?? 0);
      const queue = createDriverQueue(ram, { ...driver, size });
      queues[index] = queue;
      runner.startQueue({ setup: queue.setup({ index }), kick: queue.kickFd });
    }
    return queues;
  };
  return new DrivenDevice({ runner, ram, ownRam: !(drive.ram instanceof Object), setUp, log });
}

function ringBits({ packed, indirect, eventIdx, inOrder }: DriverOptions): bigint {
  return (
    VERSION_1 |
    (indirect ? 1n << 28n : 0n) |
    (eventIdx ? 1n << 29n : 0n) |
    (packed ? 1n << 34n : 0n) |
    (inOrder ? 1n << 35n : 0n)
  );
}
