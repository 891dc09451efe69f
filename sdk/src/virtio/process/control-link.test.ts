import { closeSync, fstatSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { FdSocket } from '../../linux/ancillary.ts';
import { socketPair } from '../../linux/unix-socket.ts';
import { ControlLink, type ControlLinkOptions } from './control-link.ts';
import { MAX_PACKET } from './control-message.ts';

const echo: ControlLinkOptions['handle'] = (method, params) => ({ value: { method, params } });

function pair(
  handle: ControlLinkOptions['handle'],
  other: ControlLinkOptions['handle'] = echo,
): [ControlLink, ControlLink] {
  const [a, b] = socketPair('seqpacket');
  const links: [ControlLink, ControlLink] = [
    new ControlLink(a, { name: 'a', handle: other }),
    new ControlLink(b, { name: 'b', handle }),
  ];
  onTestFinished(() => {
    for (const link of links) link[Symbol.dispose]();
  });
  return links;
}

const openFds = (): number => readdirSync('/proc/self/fd').length;

test('requests go both ways, and answers find their request', async () => {
  const [a, b] = pair(echo);
  const answers = await Promise.all([a.request('one', 1), b.request('two', { deep: [2] }), a.request('three', null)]);
  expect(answers.map(({ value }) => value)).toEqual([
    { method: 'one', params: 1 },
    { method: 'two', params: { deep: [2] } },
    { method: 'three', params: null },
  ]);
});

test('descriptors travel with requests and with answers', async () => {
  const [a] = pair((_method, _params, fds) => {
    writeSync(fds[0] as number, 'written by the other end');
    return { value: null, fds, closeFds: true };
  });
  const file = openSync(`${tmpdir()}/control-link-${process.pid}`, 'w+');
  onTestFinished(() => closeSync(file));
  const { fds } = await a.request('write', null, [file]);
  expect(fds).toHaveLength(1);
  expect(fstatSync(fds[0] as number).ino).toBe(fstatSync(file).ino);
  expect(readFileSync(`/proc/self/fd/${fds[0]}`, 'utf8')).toBe('written by the other end');
  closeSync(fds[0] as number);
});

test('what a handler throws arrives coded, and the channel goes on', async () => {
  const [a] = pair((method) => {
    if (method === 'bad') throw Object.assign(new Error('no such thing'), { code: 'ENOENT' });
    return { value: 'fine' };
  });
  await expect(a.request('bad', null)).rejects.toMatchObject({ code: 'ENOENT', message: 'no such thing' });
  expect((await a.request('good', null)).value).toBe('fine');
});

test('a request that is too long is refused, and so is an answer', async () => {
  const [a] = pair(() => ({ value: 'x'.repeat(MAX_PACKET) }));
  await expect(a.request('long', 'x'.repeat(MAX_PACKET))).rejects.toMatchObject({ code: 'SDK_ERR_DEVICE_LINK' });
  await expect(a.request('short', null)).rejects.toMatchObject({ code: 'SDK_ERR_DEVICE_LINK' });
});

test('a peer that goes away or is silent fails what waits for it', async () => {
  const [a, b] = pair(() => new Promise(() => {}));
  await expect(a.request('silent', null, [], 20)).rejects.toThrow(/has not answered "silent" within 0.02 s/);
  const waiting = a.request('gone', null);
  b[Symbol.dispose]();
  await expect(waiting).rejects.toMatchObject({ code: 'SDK_ERR_DEVICE_LINK' });
  await expect(a.request('later', null)).rejects.toMatchObject({ code: 'SDK_ERR_DEVICE_LINK' });
});

test('thousands of requests at once are all answered', async () => {
  const [a] = pair(echo);
  const answers = await Promise.all(Array.from({ length: 1000 }, (_, i) => a.request('n', i)));
  expect(answers.map(({ value }) => (value as { params: number }).params)).toEqual(answers.map((_, i) => i));
});

test.each([
  ['no JSON', Buffer.from('{')],
  ['no message', Buffer.from('[1,2]')],
  ['no id', Buffer.from('{"kind":"request","method":"x"}')],
  ['a method that is no string', Buffer.from('{"kind":"request","id":1,"method":{}}')],
  ['an error that is none', Buffer.from('{"kind":"refusal","id":1,"error":{"code":5}}')],
])('%s closes the channel and the descriptors that came with it', async (_what, bytes) => {
  const before = openFds();
  const [mine, theirs] = socketPair('seqpacket');
  const closed = Promise.withResolvers<void>();
  const link = new ControlLink(theirs, { name: 'x', handle: echo, closed: () => closed.resolve() });
  const socket = new FdSocket(mine);
  socket.send(bytes, [0, 1]);
  await closed.promise;
  expect(link.open).toBe(false);
  socket[Symbol.dispose]();
  closeSync(mine);
  expect(openFds()).toBe(before);
});
