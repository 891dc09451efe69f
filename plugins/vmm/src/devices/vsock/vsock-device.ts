// The device as its process drives it: the muxer, the sockets it listens on, and what outlives a change of code.

import type { DeviceContext, DeviceInstance, Virtqueue } from '@runtime/sdk/virtio';
import type { HandshakeState } from './handshakes.ts';
import { Listeners } from './listeners.ts';
import { Muxer, type MuxerState } from './muxer.ts';
import type { VsockOptions } from './options.ts';
import { SocketIo } from './socket-io.ts';
import { TransportReset } from './transport-reset.ts';

/** §5.10.2 */
const RX = 0;
const TX = 1;
const EVENT = 2;

/** What a queue of either ring format has as its base, without the wrap counter, when nothing was ever taken from it. */
const isFresh = (queue: Virtqueue): boolean => (queue.base() & 0x7fff) === 0;

/** Plain data. Descriptors in it mean something in the process that took it only. */
export interface VsockState {
  readonly process: string;
  readonly muxer: MuxerState;
  readonly handshakes: readonly HandshakeState[];
}

/** Of this incarnation; a pid alone may come again. */
const thisProcess = (): string => `${process.pid}@${performance.timeOrigin}`;

export class VsockDevice implements DeviceInstance<VsockState> {
  readonly #device: DeviceContext<VsockOptions, VsockState>;
  readonly #io = new SocketIo();
  readonly #muxer: Muxer;
  readonly #listeners: Listeners;
  readonly #transportReset = new TransportReset();
  /** Nobody has told this process about connections that the guest may have. */
  #isAmnesiac: boolean;
  #isHandedOver = false;

  constructor(device: DeviceContext<VsockOptions, VsockState>) {
    this.#device = device;
    const { options, fds, log, previous } = device;
    this.#isAmnesiac = previous === undefined;
    this.#muxer = new Muxer(device, this.#io, options.cid, options);
    if (previous !== undefined) this.#restore(previous.state);
    this.#listeners = new Listeners(fds, this.#muxer, this.#io, log);
    if (previous?.state.process === thisProcess()) this.#listeners.restore(previous.state.handshakes);
  }

  process(queue: Virtqueue): void {
    this.#isHandedOver = false;
    if (queue.index === TX) this.#muxer.takePackets(queue);
    else if (queue.index === EVENT) this.#transportReset.process(queue);
    const rx = this.#device.queue(RX);
    if (rx !== undefined && rx.broken === undefined) this.#muxer.fillBuffers(rx);
  }

  started(queue: Virtqueue): void {
    // The driver has used the device before: under a process that died, with all its connections.
    if (queue.index === TX && this.#isAmnesiac && !isFresh(queue)) this.#transportReset.request();
    if (queue.index === TX) this.#isAmnesiac = false;
    this.#device.wake();
  }

  reset(): void {
    this.#isAmnesiac = false;
    this.#transportReset.cancel();
    this.#muxer.reset();
  }

  snapshot(): VsockState {
    this.#isHandedOver = true;
    return { process: thisProcess(), muxer: this.#muxer.toState(), handshakes: this.#listeners.toState() };
  }

  dispose(): void {
    this.#listeners.dispose(this.#isHandedOver);
    this.#muxer.dispose(this.#isHandedOver);
    this.#io[Symbol.dispose]();
  }

  #restore(state: VsockState): void {
    const isHere = state.process === thisProcess();
    this.#muxer.restore(state.muxer, isHere);
    if (!isHere) this.#transportReset.request();
  }
}
