// Runs in a network namespace of its own: a tap as the runtime opens it, a guest that is played here, and the kernel's
// own network on the other side, spoken to through sockets. IPv6, since addresses of the link are there by themselves.

import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import type { Logger } from '@runtime/sdk';
import { interfaceMac, setInterfaceMtu } from '@runtime/sdk/linux';
import { driveDevice } from '@runtime/sdk/testing';
import { VIRTIO_NET_F } from '@runtime/sdk/virtio';
import { openNet } from '../host.ts';
import device from '../index.ts';
import { parseMac } from '../mac.ts';
import type { NetOptions } from '../options.ts';
import { until, withHeader } from '../test-rig.ts';

const MAC = '02:00:00:00:00:08';
const GUEST = Buffer.from('fe80000000000000000000fffe000008', 'hex');
const HEADER = 12;
const UDP = 17;
const ICMP6 = 58;

writeFileSync('/proc/sys/net/ipv6/conf/default/accept_dad', '0');
const log = { debug: () => {} } as unknown as Logger;
const request = { id: 'net0', log, spawn: () => Promise.reject(new Error('nothing is started')) };
const half = await openNet({ ...request, options: { backend: 'tap', mac: MAC, pairs: 2 } });
const options = half.options as NetOptions;
const name = 'rt0';
setInterfaceMtu(name, 9000);
const other = await openNet({ ...request, options: { backend: 'tap', mac: MAC } });
setInterfaceMtu('rt1', 9000);
await other.close();

// Of the host: the address of the link that the kernel makes of the interface's MAC.
const hostMac = interfaceMac(name);
const HOST = Buffer.from([
  0xfe,
  0x80,
  0,
  0,
  0,
  0,
  0,
  0,
  (hostMac[0] as number) ^ 2,
  hostMac[1] as number,
  hostMac[2] as number,
  0xff,
  0xfe,
  hostMac[3] as number,
  hostMac[4] as number,
  hostMac[5] as number,
]);

const driven = await driveDevice(device, { options, fds: half.fds });
for (const index of [0, 2]) {
  for (let i = 0; i < 60; i++) driven.queue(index).add([], [2048]);
  driven.queue(index).kick();
}

const command = async (...bytes: number[]): Promise<number> =>
  (await driven.exchange([Uint8Array.from(bytes)], [1], 4)).data[0] ?? -1;
// Both pairs, then one.
const commands = (await command(4, 0, 2, 0)) + (await command(4, 0, 1, 0));

/** Frames for the guest since, put together from their buffers: header and frame. */
function frames(): Buffer[] {
  const queue = driven.queue(0);
  const whole: Buffer[] = [];
  let parts: Buffer[] = [];
  let left = 0;
  for (const { data } of queue.used()) {
    const bytes = Buffer.from(data);
    if (left === 0) left = bytes.readUInt16LE(10);
    parts.push(bytes);
    left--;
    if (left === 0) {
      whole.push(Buffer.concat(parts));
      parts = [];
    }
    queue.add([], [2048]);
  }
  queue.kick();
  return whole;
}

function packet(protocol: number, payload: Buffer, to = HOST): Buffer {
  const ethernet = Buffer.from([...hostMac, ...(parseMac(MAC) ?? []), 0x86, 0xdd]);
  const ip = Buffer.from([0x60, 0, 0, 0, payload.length >>> 8, payload.length & 0xff, protocol, 255]);
  return Buffer.concat([ethernet, ip, GUEST, to, payload]);
}

function checksum(protocol: number, payload: Buffer, at: number): Buffer {
  const pseudo = Buffer.concat([
    GUEST,
    HOST,
    Buffer.from([0, 0, payload.length >>> 8, payload.length & 0xff, 0, 0, 0, protocol]),
    payload,
    Buffer.alloc(payload.length & 1),
  ]);
  let sum = 0;
  for (let i = 0; i < pseudo.length; i += 2) sum += pseudo.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  payload.writeUInt16BE(~sum & 0xffff, at);
  return payload;
}

const send = (frame: Uint8Array, header?: Uint8Array<ArrayBuffer>) =>
  driven.exchange([withHeader(frame, header)], [], 1);
const icmp = (type: number, ...rest: Buffer[]): Buffer =>
  packet(ICMP6, checksum(ICMP6, Buffer.concat([Buffer.from([type, 0, 0, 0]), ...rest]), 2));
const linkAddress = (kind: number): Buffer => Buffer.from([kind, 1, ...(parseMac(MAC) ?? [])]);

// Who has the host's address? The kernel says so.
let advertised = false;
for (let round = 0; round < 50 && !advertised; round++) {
  await send(icmp(135, Buffer.alloc(4), HOST, linkAddress(1)));
  await new Promise((resolve) => setTimeout(resolve, 20));
  advertised = frames().some((frame) => frame[HEADER + 54] === 136);
}

// The kernel sends a datagram to the guest: it leaves the checksum to it, since the guest has said that it can.
const socket = createSocket('udp6').bind(0, '::');
await new Promise((resolve) => socket.once('listening', resolve));
const { port } = socket.address();
const received: number[] = [];
socket.on('message', (message) => received.push(message.length));
const toGuest = `fe80::ff:fe00:8%${name}`;
const seen: Buffer[] = [];
const look = (length: number) => {
  for (const frame of frames()) {
    // Who has the guest's address? The guest says so.
    if (frame[HEADER + 20] === ICMP6 && frame[HEADER + 54] === 135)
      void send(icmp(136, Buffer.from([0x60, 0, 0, 0]), GUEST, linkAddress(2)));
    if (frame[HEADER + 20] === UDP && frame.length > length) seen.push(frame);
  }
  return seen.length > 0;
};
socket.send(Buffer.alloc(100, 1), 7, toGuest);
await until(() => look(100));
const NEEDS_CHECKSUM = 1;
const checksumLeftToGuest = (seen.pop()?.[0] ?? 0) === NEEDS_CHECKSUM;
// Longer than a buffer: several.
socket.send(Buffer.alloc(8000, 2), 7, toGuest);
await until(() => look(8000));
const large =
  seen
    .pop()
    ?.subarray(-8000)
    .every((byte) => byte === 2) === true;

// The guest sends one whose checksum is for the host to finish: struct virtio_net_hdr says where it begins and where it goes.
const payload = Buffer.alloc(8 + 20_000, 3);
payload.writeUInt16BE(7, 0);
payload.writeUInt16BE(port, 2);
payload.writeUInt16BE(payload.length, 4);
// That of the addresses is there already, as a driver puts it; any value but 0 means that there is one.
payload.writeUInt16BE(0xffff, 6);
const unfinished = Uint8Array.from([NEEDS_CHECKSUM, 0, 0, 0, 0, 0, 54, 0, 6, 0, 0, 0]);
await send(packet(UDP, payload), unfinished);
await until(() => received.length > 0);

process.stdout.write(
  JSON.stringify({
    name,
    offload: options.offload && (driven.runner.features & (1n << BigInt(VIRTIO_NET_F.hostTso4))) !== 0n,
    queues: driven.runner.queueCount,
    mtu: [options.mtu, 9000],
    advertised,
    checksumLeftToGuest,
    large,
    received,
    commands,
  }),
);
socket.close();
await driven[Symbol.asyncDispose]();
await half.close();
