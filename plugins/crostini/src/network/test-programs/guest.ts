// A guest without a machine: the kernel's own network in a namespace, behind a card whose frames go to and from the tap
// that it inherits.

import { execFileSync } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { mapAnonymous, openTap, rawRead, rawWrite, watch } from '@runtime/sdk/linux';
import { answerRequests, connectTo, datagramTo } from './answers.ts';

const HOST_TAP = 4;
const CARD = 'card';
const FRAME = 65_536;
const UDP = 17;
const ICMP = 1;
const FIRST_UNUSED = 20_000;
const [address = '', gateway = '', hostMac = ''] = process.argv.slice(2);
const card = openTap({ name: CARD });
const memory = mapAnonymous(FRAME);
const bytes = Buffer.from(memory.buffer);
let echoes = 0;

for (const command of [
  'link set lo up',
  `addr add ${address}/30 dev ${CARD}`,
  `link set ${CARD} up`,
  `route add default via ${gateway}`,
]) {
  execFileSync('ip', command.split(' '));
}
watch(HOST_TAP, { readable: true }, () => pump(HOST_TAP, card.fd));
watch(card.fd, { readable: true }, () => pump(card.fd, HOST_TAP));

function pump(from: number, to: number): void {
  for (;;) {
    const length = rawRead(from, memory.address, FRAME);
    if (length <= 0) return;
    // An answer to a ping.
    if (from === HOST_TAP && bytes[23] === ICMP && bytes[34] === 0) echoes++;
    rawWrite(to, memory.address, length);
  }
}

await answerRequests({
  async resolve(name = '') {
    const resolver = new Resolver({ timeout: 1_500, tries: 1 });
    resolver.setServers([gateway]);
    return resolver.resolve4(name).catch((e: NodeJS.ErrnoException) => e.code);
  },
  async fetch(host = '') {
    const response = await fetch(`http://${host}/`, { signal: AbortSignal.timeout(3_000) });
    return response.text();
  },
  reach: connectTo,
  ask: datagramTo,
  async ping(target = '') {
    const before = echoes;
    send(ICMP, address, target, withSum(Buffer.from([8, 0, 0, 0, 0, 1, 0, 1]), 2));
    await delay(500);
    return echoes > before ? 'answer' : 'silence';
  },
  /** A datagram to each of so many ports. */
  async flood(target = '', count = '') {
    for (let i = 0; i < Number(count); i++) {
      send(UDP, address, target, datagram(FIRST_UNUSED + i));
      if (i % 256 === 0) await delay(5);
    }
  },
  /** A datagram that says it is from `source`. */
  async pretend(source = '', target = '', port = '') {
    send(UDP, source, target, datagram(Number(port)));
  },
});

function datagram(port: number): Buffer {
  const udp = Buffer.from([0, 9, 0, 0, 0, 9, 0, 0, 33]);
  udp.writeUInt16BE(port, 2);
  return udp;
}

function send(protocol: number, source: string, target: string, payload: Buffer): void {
  const addresses = [...octets(source), ...octets(target)];
  const header = Buffer.from([0x45, 0, 0, 20 + payload.length, 0, 1, 0, 0, 64, protocol, 0, 0, ...addresses]);
  const ethernet = Buffer.from(`${hostMac}0200000000010800`, 'hex');
  const frame = Buffer.concat([ethernet, withSum(header, 10), payload]);
  bytes.set(frame);
  rawWrite(HOST_TAP, memory.address, frame.length);
}

/** RFC 1071, put at `at`. */
function withSum(data: Buffer, at: number): Buffer {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += data.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  data.writeUInt16BE(~sum & 0xffff, at);
  return data;
}

function octets(text: string): number[] {
  return text.split('.').map(Number);
}
