// Tells the guest that all its connections are gone, virtio 1.2 §5.10.6.7: after a restore in another process, or when
// this process took over from one that died. It needs the event queue, which QEMU keeps to itself.

import type { Virtqueue } from '@runtime/sdk/virtio';

/** struct virtio_vsock_event { le32 id; }, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET is 0. */
const EVENT = new Uint8Array(4);

export class TransportReset {
  #isDue = false;

  /** Tell it once, as soon as the guest has a buffer for it. */
  request(): void {
    this.#isDue = true;
  }

  cancel(): void {
    this.#isDue = false;
  }

  get isDue(): boolean {
    return this.#isDue;
  }

  process(events: Virtqueue): void {
    if (!this.#isDue) return;
    const chain = events.pop();
    if (chain === undefined) return;
    const written = chain.write(EVENT);
    events.push(chain.head, written);
    this.#isDue = written !== EVENT.length;
  }
}
