// A hostile guest against a whole device, for the tests of each device.

import type { DrivenDevice } from './drive-device.ts';
import type { Random } from './front-end-hostile.ts';
import { HostileDriver } from './hostile.ts';

export interface AttackOptions {
  /** Acts on the queues; default 200. */
  readonly acts?: number;
  /**
   * A segment that this guest would make available: the beginning of a request, say, so that the attack gets further than
   * to the first check. Called for some of the acts; the bytes are written to where requests begin.
   */
  readonly request?: (random: Random) => Uint8Array;
}

/**
 * Acts at random on all queues while the device works, then resets it as a driver would. What the device must keep up:
 * nothing is thrown out of its loop, only memory of the guest is written, and it serves requests afterwards.
 * @throws Error when a byte outside of the memory of the guest was written
 */
export async function attackDevice(driven: DrivenDevice, random: Random, options: AttackOptions = {}): Promise<void> {
  const guests = driven.queues.filter((queue) => queue !== undefined).map((queue) => new HostileDriver(queue));
  for (let i = options.acts ?? 200; i > 0; i -= 1) {
    const guest = guests[random(guests.length)];
    if (guest === undefined) break;
    if (options.request !== undefined && random(3) === 0) {
      for (const act of guest.inventRequest(options.request(random), random)) guest.apply(act);
    }
    guest.apply(guest.invent(random));
    guest.apply({ do: 'kick' });
    if (random(4) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await driven.reset();
  for (const guest of guests) guest[Symbol.dispose]();
  if (!driven.ram.intact) throw new Error('the device has written outside of the memory of the guest');
}
