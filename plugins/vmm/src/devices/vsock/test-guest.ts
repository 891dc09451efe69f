// For tests: the guest's end of many connections, which keeps to its credit as Linux does: it tells what it has read when
// a quarter of its room is used, and waits for room on the other side.

import { OP, SHUTDOWN } from './packet.ts';
import type { Packet, VsockRig } from './test-rig.ts';

const BUF_ALLOC = 256 * 1024;
const MAX_PAYLOAD = 64 * 1024;

export class GuestEnd {
  readonly hostPort: number;
  readonly guestPort: number;
  /** Bytes that came. */
  received = 0;
  /** Ops of packets without data that came. */
  readonly heard: number[] = [];
  hostShut = 0;
  isReset = false;
  /** Looks at data that came; offset of its first byte in the stream. */
  onData: (data: Uint8Array, at: number) => void = () => {};
  onChange: () => void = () => {};
  readonly #guest: TestGuest;
  #told = 0;
  #sent = 0;
  #peerAlloc = 0;
  #peerForwarded = 0;
  #queue: Uint8Array[] = [];
  #shutWhenSent = 0;

  constructor(guest: TestGuest, hostPort: number, guestPort: number) {
    this.#guest = guest;
    this.hostPort = hostPort;
    this.guestPort = guestPort;
  }

  /** Sends as the host has room. */
  write(bytes: Uint8Array): void {
    this.#queue.push(bytes);
    this.#pump();
  }

  /** After all that was written. @param flags of SHUTDOWN */
  shutdown(flags: number = SHUTDOWN.send): void {
    this.#shutWhenSent |= flags;
    this.#pump();
  }

  packet(op: number, more: { readonly data?: Uint8Array; readonly flags?: number } = {}): void {
    this.#told = this.received;
    this.#guest.rig.send({
      op,
      sourcePort: this.guestPort,
      destinationPort: this.hostPort,
      bufAlloc: BUF_ALLOC,
      forwarded: this.received >>> 0,
      ...more,
    });
  }

  take(packet: Packet): void {
    this.#peerAlloc = packet.bufAlloc;
    this.#peerForwarded = packet.forwarded;
    if (packet.op === OP.rw) {
      this.onData(packet.data, this.received);
      this.received += packet.data.length;
      if (this.received - this.#told >= BUF_ALLOC / 4) this.packet(OP.creditUpdate);
    } else this.heard.push(packet.op);
    if (packet.op === OP.creditRequest) this.packet(OP.creditUpdate);
    if (packet.op === OP.shutdown) {
      this.hostShut |= packet.flags;
      if (this.hostShut === SHUTDOWN.both) this.#end(OP.rst);
    }
    if (packet.op === OP.rst) this.#end();
    this.#pump();
    this.onChange();
  }

  #end(op?: number): void {
    if (op !== undefined) this.packet(op);
    this.isReset = true;
    this.#guest.forget(this);
  }

  #pump(): void {
    if (this.isReset) return;
    for (;;) {
      const [next] = this.#queue;
      const free = this.#peerAlloc - ((this.#sent - this.#peerForwarded) >>> 0);
      if (next === undefined || free <= 0) break;
      const data = next.subarray(0, Math.min(free, MAX_PAYLOAD));
      if (data.length === next.length) this.#queue.shift();
      else this.#queue[0] = next.subarray(data.length);
      this.#sent = (this.#sent + data.length) >>> 0;
      this.packet(OP.rw, { data });
    }
    if (this.#queue.length > 0 || this.#shutWhenSent === 0) return;
    this.packet(OP.shutdown, { flags: this.#shutWhenSent });
    this.#shutWhenSent = 0;
  }
}

export class TestGuest {
  readonly rig: VsockRig;
  /** Called with each connection that the host makes; it has been accepted. */
  onConnection: (end: GuestEnd) => void = () => {};
  readonly #ends = new Map<string, GuestEnd>();

  constructor(rig: VsockRig) {
    this.rig = rig;
    rig.onPacket = (packet) => this.#take(packet);
  }

  /** Calls the host; the end is made before the answer comes. */
  connect(hostPort: number, guestPort: number): GuestEnd {
    const end = this.#add(hostPort, guestPort);
    end.packet(OP.request);
    return end;
  }

  forget({ hostPort, guestPort }: GuestEnd): void {
    this.#ends.delete(`${hostPort}:${guestPort}`);
  }

  #add(hostPort: number, guestPort: number): GuestEnd {
    const end = new GuestEnd(this, hostPort, guestPort);
    this.#ends.set(`${hostPort}:${guestPort}`, end);
    return end;
  }

  #take(packet: Packet): void {
    const { sourcePort, destinationPort, op } = packet;
    const end = this.#ends.get(`${sourcePort}:${destinationPort}`);
    if (end !== undefined) end.take(packet);
    else if (op === OP.request) {
      const made = this.#add(sourcePort, destinationPort);
      made.packet(OP.response);
      made.take(packet);
      this.onConnection(made);
    }
  }
}
