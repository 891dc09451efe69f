// Runs in a network namespace of its own: makes taps, and prints what they are and what goes through them.

import { writeFileSync } from 'node:fs';
import { isLinuxError } from '../call.ts';
import { mapAnonymous } from '../mapping.ts';
import { pollOne } from '../poll.ts';
import { rawRead, rawWrite } from '../raw-io.ts';
import {
  describeTap,
  interfaceMac,
  interfaceMtu,
  isInterfaceUp,
  openTap,
  setInterfaceMac,
  setInterfaceMtu,
  setInterfaceUp,
  setTapHeaderSize,
  setTapOffload,
  setTapQueue,
  TUN_OFFLOAD,
} from '../tun.ts';

const HEADER = 12;
const MAC = [2, 0, 0, 0, 0, 7];
const PEER = [2, 0, 0, 0, 0, 8];
const memory = mapAnonymous(65_536);
const bytes = Buffer.from(memory.buffer);

/** Name of the error, or `ok`. */
function attempt(fn: () => void): string {
  try {
    fn();
    return 'ok';
  } catch (e) {
    return isLinuxError(e) ? e.errnoName : String(e);
  }
}

/** The next frame that `wanted` says yes to, headers left out. */
function frame(fd: number, wanted: (frame: Buffer) => boolean): Buffer {
  while (pollOne(fd, 'readable', 250)) {
    const length = rawRead(fd, memory.address, 65_536);
    const found = bytes.subarray(HEADER, length);
    if (length > HEADER && wanted(found)) return Buffer.from(found);
  }
  return Buffer.alloc(0);
}

// Addresses are good at once, without asking whether somebody has them.
writeFileSync('/proc/sys/net/ipv6/conf/default/accept_dad', '0');
const tap = openTap({ vnetHeader: true });
setTapHeaderSize(tap.fd, HEADER);
setTapOffload(tap.fd, TUN_OFFLOAD.checksum | TUN_OFFLOAD.tso4 | TUN_OFFLOAD.tso6);
const described = describeTap(tap.fd);
const up = [isInterfaceUp(tap.name)];
const mtu = [interfaceMtu(tap.name)];
setInterfaceMac(tap.name, Uint8Array.from(MAC));
setInterfaceMtu(tap.name, 9000);
mtu.push(interfaceMtu(tap.name));
setInterfaceUp(tap.name, true);
up.push(isInterfaceUp(tap.name));

const greeting = frame(tap.fd, (found) => found[0] === 0x33 && found[1] === 0x33);
const isMulticast = greeting.readUInt16BE(12) === 0x86dd;

// A neighbour solicitation for the link-local address that the kernel made of the MAC: it answers with an advertisement.
const address = Buffer.from('fe80000000000000000000fffe000007', 'hex');
const source = Buffer.from('fe80000000000000000000fffe000008', 'hex');
const body = Buffer.concat([Buffer.from('8700000000000000', 'hex'), address, Buffer.from([1, 1, ...PEER])]);
const pseudo = Buffer.concat([source, address, Buffer.from([0, 0, 0, body.length, 0, 0, 0, 58]), body]);
let sum = 0;
for (let i = 0; i < pseudo.length; i += 2) sum += pseudo.readUInt16BE(i);
while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
body.writeUInt16BE(~sum & 0xffff, 2);
const request = Buffer.concat([
  Buffer.alloc(HEADER),
  Buffer.from([...MAC, ...PEER, 0x86, 0xdd]),
  Buffer.from([0x60, 0, 0, 0, 0, body.length, 58, 255]),
  source,
  address,
  body,
]);
let answer: Buffer = Buffer.alloc(0);
for (let round = 0; round < 30 && answer.length === 0; round++) {
  bytes.set(request);
  rawWrite(tap.fd, memory.address, request.length);
  answer = frame(tap.fd, (found) => found[54] === 136);
}
const echoed = answer.subarray(0, 6).equals(Buffer.from(PEER)) ? 'a neighbour advertisement' : answer.toString('hex');

const first = openTap({ name: 'rt-test', multiQueue: true });
const second = openTap({ name: 'rt-test', multiQueue: true });
setTapQueue(second.fd, false);
setTapQueue(second.fd, true);

process.stdout.write(
  JSON.stringify({
    names: [tap.name, first.name, second.name],
    described,
    up,
    mtu,
    mac: [...interfaceMac(tap.name)].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    header: HEADER,
    isMulticast,
    echoed,
    secondOpen: attempt(() => openTap({ name: tap.name, vnetHeader: true })),
    multi: describeTap(first.fd),
    offload: attempt(() => setTapOffload(tap.fd, 0x8000)),
  }),
);
