// The host's side of a pair of queues: where frames come from and go to. Frames go from guest memory to the kernel as
// they are. Those for the guest are read before a buffer of the guest is taken, since only then is known that there is one
// and how many buffers it needs, and a buffer once taken cannot be put back.

import type { Chain } from '@runtime/sdk/virtio';

/** `receive` has no frame now; the other side is gone for good. */
export const NOTHING = 0;
export const GONE = -1;

export interface Port extends Disposable {
  readonly fd: number;
  /** Memory in which `receive` puts frames, and its address. */
  readonly bytes: Uint8Array;
  readonly address: number;
  /** Where in `bytes` the header of the last frame begins; the frame follows. They stay until the next `receive`. */
  readonly at: number;
  /** The last frame could not be passed on entirely: wait until `fd` is writable, then `drain`. */
  readonly isFull: boolean;
  /** Length of the next frame with its header; NOTHING or GONE. Wrong ones are counted and skipped, a bounded number. */
  receive(): number;
  /** The readable part of the chain is a header and a frame of a right length. Not called while it is full. */
  send(chain: Chain): void;
  drain(): void;
}
