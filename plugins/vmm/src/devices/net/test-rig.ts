// For tests: a network device whose tap or passt is a socket, on the other end of which the test sits.

import { closeSync } from 'node:fs';
import { FdSocket, setSocketOption, socketPair } from '@runtime/sdk/linux';
import { type DrivenDevice, type DriveOptions, driveDevice } from '@runtime/sdk/testing';
import { VIRTIO_NET_F } from '@runtime/sdk/virtio';
import device from './index.ts';
import { HEADER_BYTES } from './protocol.ts';

export const MAC = '02:00:00:00:00:07';
export const RX = 0;
export const TX = 1;
export const CONTROL = 2;

export interface NetRig extends AsyncDisposable {
  readonly driven: DrivenDevice;
  /** The other end. */
  readonly host: FdSocket;
  readonly config: DataView;
  /** What the host has received since; waits for at least one message. */
  received(): Promise<Uint8Array[]>;
}

export interface RigOptions extends DriveOptions {
  readonly backend?: 'tap' | 'passt';
  readonly options?: Readonly<Record<string, unknown>>;
  /** Bytes that the device can send before the host reads. */
  readonly sendBuffer?: number;
}

export async function netRig(rig: RigOptions = {}): Promise<NetRig> {
  const { backend = 'tap', options = {}, sendBuffer, ...drive } = rig;
  // A sequenced-packet socket keeps the bounds of frames as a tap does.
  const [mine, theirs] = socketPair(backend === 'tap' ? 'seqpacket' : 'stream');
  if (sendBuffer !== undefined) setSocketOption(mine, 'sendBuffer', sendBuffer);
  const host = new FdSocket(theirs);
  const driven = await driveDevice(device, {
    options: { mac: MAC, backend, ...options },
    fds: { [backend === 'tap' ? 'tap0' : 'passt']: mine },
    ...drive,
  });
  const into = new Uint8Array(1 << 20);
  return {
    driven,
    host,
    get config() {
      return new DataView(driven.runner.readConfig(0, 12).slice().buffer);
    },
    async received() {
      const messages: Uint8Array[] = [];
      for (let round = 0; round < 2000; round++) {
        for (let part = host.receive(into); part !== undefined && part.bytes > 0; part = host.receive(into))
          messages.push(into.slice(0, part.bytes));
        if (messages.length > 0) return messages;
        await tick();
      }
      throw new Error('nothing came');
    },
    async [Symbol.asyncDispose]() {
      await driven[Symbol.asyncDispose]();
      host[Symbol.dispose]();
      closeSync(mine);
      closeSync(theirs);
    },
  };
}

export const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

/** Waits for what must come. */
export async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 3000; round++) {
    if (condition()) return;
    await tick();
  }
  throw new Error('waited in vain');
}

/** A frame to the card, with bytes that tell it from others. */
export function frame(length: number, seed = 1, target = MAC): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31) & 0xff);
  target.split(':').forEach((byte, i) => {
    bytes[i] = Number.parseInt(byte, 16);
  });
  return bytes;
}

export function withHeader(bytes: Uint8Array, header = new Uint8Array(HEADER_BYTES)): Uint8Array {
  return Buffer.concat([header, bytes]);
}

/** As on a stream. */
export function framed(...frames: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    frames.flatMap((bytes) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

/** Cuts at the given lengths; the rest is the last part. */
export function cut(bytes: Uint8Array, ...lengths: readonly number[]): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const length of lengths) {
    parts.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [...parts, bytes.subarray(at)].filter(({ length }) => length > 0);
}

export function featureMask(...names: readonly (keyof typeof VIRTIO_NET_F)[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(VIRTIO_NET_F[name])), 0n);
}
