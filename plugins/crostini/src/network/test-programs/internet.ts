// The rest of the world, in a network namespace of its own: a web server that says who asks, a name server that knows one
// name, and a port that remembers who has written to it. It is told what to do by its parent.

import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { answerRequests, connectTo, datagramTo, waitForInterface } from './answers.ts';
import { WORLD } from './world.ts';

const heard: string[] = [];

await answerRequests({
  pid: async () => process.pid,
  async up() {
    await waitForInterface(WORLD.card);
    for (const command of [
      'link set lo up',
      `addr add ${WORLD.address}/24 dev ${WORLD.card}`,
      `link set ${WORLD.card} up`,
      // It knows the way to the guests, which the real one does not.
      `route add 100.115.92.0/24 via ${WORLD.host}`,
    ]) {
      execFileSync('ip', command.split(' '));
    }
    const web = createServer(({ socket }, response) => response.end(`you are ${socket.remoteAddress}`));
    await once(web.listen(WORLD.web, WORLD.address), 'listening');
    const names = createSocket('udp4', (query, from) => names.send(answerOf(query), from.port, from.address));
    await once(names.bind(53, WORLD.address), 'listening');
    const notes = createSocket('udp4', (_note, { address }) => heard.push(address));
    await once(notes.bind(WORLD.notes, WORLD.address), 'listening');
    return 'up';
  },
  /** Who has written, once nothing more is on its way. */
  async heard() {
    await delay(200);
    return heard.splice(0);
  },
  reach: connectTo,
  ask: datagramTo,
});

/** RFC 1035 §4: the question again, and for our name an address. */
function answerOf(query: Buffer): Buffer {
  const isKnown = query.includes(Buffer.from('\u0004shop\u0004test\u0000', 'latin1'));
  const isAddress = query.readUInt16BE(query.indexOf(0, 12) + 1) === 1;
  const end = query.indexOf(0, 12) + 5;
  const reply = Buffer.from(query.subarray(0, end));
  reply.writeUInt16BE(isKnown ? 0x8180 : 0x8183, 2);
  reply.writeUInt16BE(isKnown && isAddress ? 1 : 0, 6);
  reply.writeUInt32BE(0, 8);
  if (!isKnown || !isAddress) return reply;
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...WORLD.address.split('.').map(Number)];
  return Buffer.concat([reply, Buffer.from(record)]);
}
