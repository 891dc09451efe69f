import { closeSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { FdSocket } from '../../linux/ancillary.ts';
import { socketPair } from '../../linux/unix-socket.ts';
import { BackendRequest } from './messages.ts';
import { encodeMessage, encodePayload } from './payloads.ts';
import { RequestChannel } from './request-channel.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function open() {
  const [ours, theirs] = socketPair('stream');
  const ends: unknown[] = [];
  const channel = new RequestChannel(ours, (cause) => ends.push(cause));
  const peer = new FdSocket(theirs);
  cleanups.push(
    () => closeSync(theirs),
    () => peer[Symbol.dispose](),
    () => channel.close(),
  );
  const ask = (): Promise<void> => channel.request(BackendRequest.CONFIG_CHANGE_MSG, undefined, { acknowledged: true });
  const answer = (id: number, status: bigint): void =>
    void peer.send(encodeMessage(id, 1 | 4, encodePayload('u64', status)));
  return { channel, peer, ends, ask, answer };
}

test('answers belong to requests in their order', async () => {
  const { ask, answer, peer } = open();
  const first = ask();
  const second = ask();
  const refused = expect(first).rejects.toThrow('the front end answered 5');
  answer(2, 5n);
  answer(2, 0n);
  await refused;
  await second;
  expect(peer.receive(new Uint8Array(64))?.bytes).toBe(24);
});

test('an answer to something else ends the channel', async () => {
  const { ask, answer, ends } = open();
  const asked = ask();
  const failed = expect(asked).rejects.toThrow('it was closed');
  answer(3, 0n);
  await failed;
  expect(String(ends[0])).toContain('an answer to request 3 came');
  await expect(ask()).rejects.toThrow('the front end has closed it');
});

test('a front end that answers nothing is asked no more at some point', async () => {
  const { ask, channel } = open();
  const asked = Array.from({ length: 64 }, ask);
  await expect(ask()).rejects.toThrow('too many requests');
  channel.close();
  for (const one of asked) await expect(one).rejects.toThrow('it was closed');
});

test('what needs no answer is sent and done', async () => {
  const { channel } = open();
  await channel.request(BackendRequest.VRING_CALL, { index: 0, num: 0 }, { acknowledged: false });
});
