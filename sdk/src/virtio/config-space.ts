// The device-specific configuration space, virtio 1.2 §2.5: bytes that driver and device see alike.

import type { ConfigSpace } from './device.ts';

/** As far as vhost-user carries it: VHOST_USER_MAX_CONFIG_SIZE. */
export const MAX_CONFIG_BYTES = 256;

export class DeviceConfigSpace implements ConfigSpace {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #changed: () => void;

  /** @param changed tells the driver */
  constructor(initial: Uint8Array, changed: () => void) {
    this.bytes = Uint8Array.from(initial);
    this.#view = new DataView(this.bytes.buffer);
    this.#changed = changed;
  }

  update(change: (view: DataView) => void): void {
    const before = this.bytes.slice();
    change(this.#view);
    if (this.bytes.some((byte, at) => byte !== before[at])) this.#changed();
  }

  /** What is past the end reads as zeros: drivers may know a later, longer layout. */
  read(offset: number, length: number): Uint8Array {
    const answer = new Uint8Array(length);
    answer.set(this.bytes.subarray(Math.min(offset, this.bytes.length), offset + length));
    return answer;
  }

  /** False when it does not fit. */
  write(offset: number, bytes: Uint8Array): boolean {
    if (offset + bytes.length > this.bytes.length) return false;
    this.bytes.set(bytes, offset);
    return true;
  }
}
