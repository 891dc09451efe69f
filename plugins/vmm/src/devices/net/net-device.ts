// The device at work: which queue is which, what the driver has chosen, and where its frames go.

import { closeSync } from 'node:fs';
import { setTapOffload, setTapQueue } from '@runtime/sdk/linux';
import type { DeviceContext, DeviceInstance, Virtqueue } from '@runtime/sdk/virtio';
import { VIRTIO_NET_F } from '@runtime/sdk/virtio';
import { errors } from '../../errors.ts';
import { setLinkUp, tunOffloads } from './config-layout.ts';
import { type ControlEffects, serveControl } from './control-queue.ts';
import { macAt, parseMac } from './mac.ts';
import type { NetOptions } from './options.ts';
import { CONFIG, MAC_BYTES } from './protocol.ts';
import { QueuePair } from './queue-pair.ts';
import { type FilterState, RxFilter } from './rx-filter.ts';
import { countIn, type NetStats } from './stats.ts';
import { StreamPort, type StreamState } from './stream-port.ts';
import { TapPort } from './tap-port.ts';

/** Before a connection to passt is asked for again. */
const RECONNECT_MS = 500;

export interface NetState {
  readonly linkUp: boolean;
  readonly pairs: number;
  readonly filter: FilterState;
  /** The connection to passt; of use only to the same process. */
  readonly stream: (StreamState & { readonly pid: number; readonly fd: number }) | undefined;
}

export class NetDevice implements DeviceInstance<NetState> {
  readonly #device: DeviceContext<NetOptions, NetState>;
  readonly #stats: NetStats;
  readonly #filter: RxFilter;
  readonly #pairs: readonly QueuePair[];
  readonly #effects: ControlEffects;
  /** What the configuration space is, whatever the driver writes. */
  #config: Uint8Array;
  /** As a user wants it. */
  #linkUp: boolean;
  /** Pairs that the driver has asked for through the control queue. */
  #wantedPairs: number;
  #offloads = -1;
  #isLost = false;
  #handedOver = false;
  #disposed = false;
  #retry: NodeJS.Timeout | undefined;

  constructor(device: DeviceContext<NetOptions, NetState>) {
    const { options, previous } = device;
    this.#device = device;
    this.#stats = countIn(device.stats);
    this.#config = device.config.bytes.slice();
    this.#filter = new RxFilter(previous?.state.filter ?? RxFilter.open(macAt(this.#configuredMac(), 0)));
    this.#linkUp = previous?.state.linkUp ?? true;
    this.#wantedPairs = previous?.state.pairs ?? 1;
    const self = this;
    const owner = {
      stats: this.#stats,
      filter: this.#filter,
      get isUp() {
        return self.#linkUp && !self.#isLost;
      },
      wake: () => device.wake(),
      gone: () => this.#gone(),
    };
    this.#pairs = Array.from({ length: options.queuePairs }, () => new QueuePair(owner));
    this.#effects = {
      has: (feature) => this.#has(feature),
      maxPairs: options.queuePairs,
      filter: this.#filter,
      setMac: (mac) => this.#setMac(mac),
      setPairs: (pairs) => {
        this.#wantedPairs = pairs;
        this.#attachPairs();
      },
      setGuestOffloads: (bits) => this.#setOffloads(tunOffloads((feature) => ((bits >> BigInt(feature)) & 1n) === 1n)),
    };
    if (options.backend === 'tap') this.#openTaps();
    else this.#openStream(previous?.state.stream);
  }

  process(queue: Virtqueue): void {
    const { index } = queue;
    if (index === this.#controlIndex) {
      serveControl(queue, this.#effects, this.#stats);
      return;
    }
    const pair = this.#pairs[index >>> 1];
    if (pair === undefined) return;
    if ((index & 1) === 0) pair.receive(queue);
    else pair.send(queue);
  }

  started({ index }: Virtqueue): void {
    if (index === this.#controlIndex) {
      this.#attachPairs();
      return;
    }
    // What the driver accepted is known before its first queue runs.
    if (this.#offloads < 0) this.#setOffloads(tunOffloads((feature) => this.#has(feature)));
    const pair = this.#pairs[index >>> 1];
    if (pair === undefined || (index & 1) === 1) return;
    pair.rx.mergeable = this.#has(VIRTIO_NET_F.mrgRxbuf);
    pair.setRxRunning(true);
    this.#attachPairs();
  }

  stopping(queue: Virtqueue): void {
    if (this.#isRx(queue.index)) this.#pairs[queue.index >>> 1]?.rx.giveBack(queue);
  }

  stopped(index: number): void {
    if (!this.#isRx(index)) return;
    this.#pairs[index >>> 1]?.setRxRunning(false);
    this.#attachPairs();
  }

  /** A driver of VIRTIO 1 has a command for its address, and nothing else is its to change. §5.1.4 */
  configWritten(): void {
    this.#device.config.bytes.set(this.#config);
  }

  handle(method: string, params: unknown): { readonly up: boolean } {
    if (method !== 'link')
      throw errors.VMM_ERR_NET_REQUEST({ details: { what: `request "${method}"`, why: 'it is unknown' } });
    const { up } = (params ?? {}) as { readonly up?: unknown };
    if (typeof up !== 'boolean')
      throw errors.VMM_ERR_NET_REQUEST({ details: { what: 'request "link"', why: 'up must be true or false' } });
    this.#linkUp = up;
    this.#tellLink();
    return { up: up && !this.#isLost };
  }

  quiesce(): void {
    this.#pairs.forEach((pair, i) => {
      const queue = this.#device.queue(i * 2);
      if (queue !== undefined) pair.rx.giveBack(queue);
    });
  }

  snapshot(): NetState {
    const [pair] = this.#pairs;
    const port = pair?.port;
    this.#handedOver = true;
    return {
      linkUp: this.#linkUp,
      pairs: this.#wantedPairs,
      filter: this.#filter.state,
      stream:
        port instanceof StreamPort && !this.#isLost
          ? { ...port.state(pair?.pending ?? 0), pid: process.pid, fd: port.fd }
          : undefined,
    };
  }

  reset(): void {
    this.#filter.change(RxFilter.open(macAt(this.#configuredMac(), 0)));
    this.#setMac(this.#configuredMac());
    this.#wantedPairs = 1;
    this.#setOffloads(0);
    this.#offloads = -1;
    for (const pair of this.#pairs) pair.rx.forget();
  }

  dispose(): void {
    this.#disposed = true;
    clearTimeout(this.#retry);
    const fds = this.#pairs.map(({ port }) => port?.fd);
    for (const pair of this.#pairs) pair.dispose();
    // A connection that was asked for is ours, and goes on with the code that follows.
    if (this.#device.options.backend === 'passt' && !this.#handedOver) this.#closeOwn(fds[0]);
  }

  // Which is which

  /** Behind all pairs that there could be, once the driver knows of more than one. §5.1.2 */
  get #controlIndex(): number {
    return this.#has(VIRTIO_NET_F.mq) ? this.#pairs.length * 2 : 2;
  }

  #isRx(index: number): boolean {
    return index !== this.#controlIndex && (index & 1) === 0;
  }

  #has(feature: number): boolean {
    return ((this.#device.features() >> BigInt(feature)) & 1n) === 1n;
  }

  /** The schema of the options has checked that it is one. */
  #configuredMac(): Uint8Array {
    return parseMac(this.#device.options.mac) ?? new Uint8Array(MAC_BYTES);
  }

  #setMac(mac: Uint8Array): void {
    this.#device.config.bytes.set(mac, CONFIG.mac);
    this.#config = this.#device.config.bytes.slice();
  }

  // Taps

  #openTaps(): void {
    const { fds } = this.#device;
    this.#pairs.forEach((pair, i) => {
      const fd = fds[`tap${i}`];
      if (fd === undefined)
        throw errors.VMM_ERR_NET_REQUEST({ details: { what: `tap${i}`, why: 'it was not handed over' } });
      pair.connect(new TapPort(fd, this.#stats), undefined);
    });
    this.#attachPairs();
  }

  /**
   * The kernel spreads flows over the queues of a tap, also over those that nobody looks at. A front end that keeps the
   * control queue to itself (QEMU) starts only the pairs that its driver wants.
   */
  #attachPairs(): void {
    const { options, fds, queue } = this.#device;
    if (options.backend !== 'tap' || options.queuePairs === 1) return;
    const hasControl = queue(this.#controlIndex) !== undefined;
    this.#pairs.forEach((pair, i) => {
      if (i === 0) return;
      const isRunning = queue(i * 2) !== undefined && i * 2 !== this.#controlIndex;
      const attached = isRunning && (!hasControl || i < this.#wantedPairs);
      try {
        setTapQueue(fds[`tap${i}`] as number, attached);
      } catch {
        // It is so already.
      }
      pair.setAttached(attached);
    });
  }

  #setOffloads(offloads: number): boolean {
    const { options, fds, log } = this.#device;
    if (!options.offload || offloads === this.#offloads) return options.offload;
    try {
      setTapOffload(fds.tap0 as number, offloads);
    } catch (e) {
      log.warn(`the tap does not take offloads ${offloads}: ${(e as Error).message}`);
      return false;
    }
    this.#offloads = offloads;
    return true;
  }

  // passt

  #openStream(stream: NetState['stream']): void {
    const given = this.#device.fds.passt;
    if (stream !== undefined && stream.pid === process.pid) this.#connect(stream.fd, stream);
    else if (given !== undefined) this.#connect(given);
    else void this.#ask();
  }

  #connect(fd: number, stream?: StreamState): void {
    this.#pairs[0]?.connect(new StreamPort(fd, this.#stats, stream), this.#device.queue(0));
    this.#isLost = false;
    this.#tellLink();
    this.#device.wake();
  }

  async #ask(): Promise<void> {
    try {
      const { fds } = await this.#device.request('connect', null);
      const [fd, ...others] = fds;
      for (const other of others) closeSync(other);
      if (fd === undefined) throw errors.VMM_ERR_NET_REQUEST({ details: { what: 'passt', why: 'no connection came' } });
      if (this.#disposed) closeSync(fd);
      else this.#connect(fd);
    } catch (e) {
      if (this.#disposed) return;
      this.#device.log.warn(`there is no connection to passt: ${(e as Error).message}`);
      this.#retry = setTimeout(() => void this.#ask(), RECONNECT_MS);
    }
  }

  #gone(): void {
    const [pair] = this.#pairs;
    // A queue of a tap that is not attached says so as well.
    if (this.#device.options.backend === 'tap' || this.#isLost) return;
    this.#isLost = true;
    this.#stats.lost += 1;
    this.#device.log.warn('the connection to passt has ended; the link is down until there is another one');
    const fd = pair?.port?.fd;
    pair?.connect(undefined, this.#device.queue(0));
    this.#closeOwn(fd);
    this.#tellLink();
    // Not at once: one that ends as soon as it runs would be started over and over.
    this.#retry = setTimeout(() => void this.#ask(), RECONNECT_MS);
  }

  /** Those that were given by name stay open for the process. */
  #closeOwn(fd: number | undefined): void {
    if (fd !== undefined && fd !== this.#device.fds.passt) closeSync(fd);
  }

  #tellLink(): void {
    this.#device.config.update((view) => setLinkUp(view, this.#linkUp && !this.#isLost));
    this.#config = this.#device.config.bytes.slice();
  }
}
