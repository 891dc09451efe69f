// Which feature bits a device offers: its own, and those of the rings, which the kit takes care of.

import type { AnyDevice } from './device.ts';

/** virtio 1.2 §6: INDIRECT_DESC, EVENT_IDX, VERSION_1, RING_PACKED, IN_ORDER, RING_RESET is the transport's. */
export const COMMON_FEATURES: bigint = (1n << 28n) | (1n << 29n) | (1n << 32n) | (1n << 34n);

export function featureMask(device: AnyDevice, options: unknown, fds: Readonly<Record<string, number>>): bigint {
  const bits = typeof device.features === 'function' ? device.features(options, fds) : (device.features ?? []);
  return bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
}
