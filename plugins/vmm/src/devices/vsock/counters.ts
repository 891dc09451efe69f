// The counters of a vsock device, which live on through a reload.

import type { DeviceStats } from '@runtime/sdk/virtio';

const NAMES = [
  /** Connections made. */
  'opened',
  /** Connections that nobody took, or for which there was no room. */
  'refused',
  /** Resets sent. */
  'resets',
  /** Connections ended because the guest did not follow the protocol. */
  'violations',
  /** Packets dropped, and buffers too small for one. */
  'malformed',
  'toGuestBytes',
  'toHostBytes',
] as const;

export type CounterName = (typeof NAMES)[number];

export class Counters {
  readonly #stats: DeviceStats;

  constructor(stats: DeviceStats) {
    this.#stats = stats;
    for (const name of NAMES) stats[name] ??= 0;
    this.gauge('connections', 0);
    this.gauge('lingering', 0);
  }

  add(name: CounterName, value: number): void {
    this.#stats[name] = (this.#stats[name] as number) + value;
  }

  /** What there is now. */
  gauge(name: 'connections' | 'lingering', value: number): void {
    this.#stats[name] = value;
  }
}
