// For tests: a guest that means harm, and hosts that come and go, as plain data, so that a case that was found can be kept
// and played again.

import { readSync, writeSync } from 'node:fs';
import { shutdownSocket, socketPair } from '@runtime/sdk/linux';
import { closeFd } from './close-fd.ts';
import { HOST_CID } from './packet.ts';
import { CID, encode, type Packet, type VsockRig } from './test-rig.ts';

/** Ports of the host where somebody answers. */
export const HOST_PORTS = [5000, 5001];

export type Act =
  | {
      readonly do: 'packet';
      readonly op: number;
      readonly sourcePort: number;
      readonly destinationPort: number;
      readonly type?: number;
      readonly flags?: number;
      readonly bufAlloc?: number;
      readonly forwarded?: number;
      readonly sourceCid?: number;
      readonly destinationCid?: number;
      /** What the header says, when it lies. */
      readonly length?: number;
      /** Bytes behind the header. */
      readonly data?: number;
      /** Bytes of the packet that are sent at all. */
      readonly cut?: number;
    }
  /** The host's end of the connection that was made `which` ago. */
  | { readonly do: 'host'; readonly which: number; readonly what: 'write' | 'read' | 'end' | 'close' }
  /** A client of the host that says something. */
  | { readonly do: 'client'; readonly says: string }
  | { readonly do: 'reading'; readonly on: boolean }
  | { readonly do: 'wait' | 'reload' | 'reset' | 'elsewhere' };

/** Plays acts on a rig, and looks at what the guest gets. */
export class Player implements Disposable {
  readonly #rig: VsockRig;
  readonly #ends: number[] = [];
  readonly #bytes = Buffer.alloc(30_000, 'x');

  constructor(rig: VsockRig) {
    this.#rig = rig;
    rig.connect = (port) => {
      if (!HOST_PORTS.includes(port)) throw new Error('refused');
      const [ours, theirs] = socketPair('stream');
      this.#ends.push(ours);
      return theirs;
    };
    rig.onPacket = checkPacket;
  }

  async play(acts: readonly Act[]): Promise<void> {
    for (const act of acts) {
      if (act.do === 'wait') await new Promise((resolve) => setImmediate(resolve));
      else this.#act(act);
      this.#rig.turn();
      const { connections = 0, lingering = 0 } = this.#rig.stats;
      if (connections + lingering > this.#rig.options.maxConnections + 1) throw new Error(`${connections} connections`);
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.#ends) closeFd(fd);
  }

  #act(act: Exclude<Act, { readonly do: 'wait' }>): void {
    const rig = this.#rig;
    switch (act.do) {
      case 'packet': {
        const { data = 0, cut, sourceCid = CID, destinationCid = HOST_CID, do: _, ...header } = act;
        const cids = { sourceCid: BigInt(sourceCid), destinationCid: BigInt(destinationCid) };
        const bytes = encode({ ...header, ...cids, data: this.#bytes.subarray(0, data) });
        rig.sendRaw(bytes.subarray(0, Math.max(1, cut ?? bytes.length)));
        return;
      }
      case 'host':
        this.#host(act.which, act.what);
        return;
      case 'client':
        rig.client('vsock.sock').end(act.says);
        return;
      case 'reading':
        if (act.on) rig.resumeReading();
        else rig.isReading = false;
        return;
      case 'reload':
        rig.replace();
        return;
      case 'elsewhere':
        rig.moveElsewhere();
        return;
      case 'reset':
        rig.device.reset();
        return;
      default:
        throw new Error(`there is no act ${(act as Act).do}`);
    }
  }

  #host(which: number, what: 'write' | 'read' | 'end' | 'close'): void {
    const at = this.#ends.length - 1 - which;
    const fd = this.#ends[at];
    if (fd === undefined) return;
    try {
      if (what === 'write') writeSync(fd, this.#bytes);
      else if (what === 'read') readSync(fd, this.#bytes);
      else if (what === 'end') shutdownSocket(fd, 'write');
      else {
        this.#ends.splice(at, 1);
        closeFd(fd);
      }
    } catch {
      // Full, empty, or its peer has gone.
    }
  }
}

/** Whatever the guest does, what it gets is sound. */
function checkPacket(packet: Packet): void {
  const { sourceCid, destinationCid, op, length, data, flags } = packet;
  const isSound =
    sourceCid === BigInt(HOST_CID) &&
    destinationCid === BigInt(CID) &&
    op >= 1 &&
    op <= 7 &&
    length === data.length &&
    (op === 5) === length > 0 &&
    (op === 4) === flags > 0;
  if (!isSound) throw new Error(`the guest got ${JSON.stringify({ ...packet, data: undefined }, replacer)}`);
}

const replacer = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
