import { closeSync, fstatSync, readdirSync, readSync, writeSync } from 'node:fs';
import { isRuntimeError } from '@runtime/core';
import { afterEach, expect, test } from 'vitest';
import { drainEventfd, eventfd } from '../../linux/eventfd.ts';
import { memfdCreate } from '../../linux/memfd.ts';
import { socketPair } from '../../linux/unix-socket.ts';
import { EchoDevice } from '../../testing/virtio/front-end-echo.ts';
import { FrontEndLink } from '../../testing/virtio/front-end-link.ts';
import { VhostUserBackend, type VhostUserBackendOptions } from './back-end.ts';
import { closeFds } from './frames.ts';
import { featureBits, NO_FD, ProtocolFeature, type ProtocolFeatureName } from './messages.ts';
import { decodePayload, encodeMessage, encodePayload } from './payloads.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Session {
  readonly device: EchoDevice;
  readonly link: FrontEndLink;
  readonly backend: VhostUserBackend;
  readonly log: string[];
}

function connect(options: Partial<VhostUserBackendOptions> = {}, device = new EchoDevice()): Session {
  const [ours, theirs] = socketPair('stream');
  const log: string[] = [];
  const note = (message: string): void => void log.push(message);
  const backend = new VhostUserBackend(theirs, device, { log: { info: note, warn: note }, ...options });
  backend.start();
  const link = new FrontEndLink(ours);
  cleanups.push(() => backend.close());
  cleanups.push(() => link.close());
  return { device, link, backend, log };
}

const PROTOCOL_FEATURES = 1n << 30n;

async function negotiated(features: readonly ProtocolFeatureName[], options: Partial<VhostUserBackendOptions> = {}) {
  const session = connect(options);
  await session.link.request('SET_PROTOCOL_FEATURES', featureBits([...features, 'replyAck']));
  session.link.acknowledged = true;
  await session.link.request('SET_FEATURES', PROTOCOL_FEATURES | (1n << 32n));
  return session;
}

const SIZE = 1 << 20;
/** Where QEMU could have the guest's memory. */
const USER = 0x7f00_0000_0000;

function guestFile(size = SIZE): number {
  const fd = memfdCreate('guest', { size });
  cleanups.push(() => closeSync(fd));
  return fd;
}

function efd(): number {
  const fd = eventfd();
  cleanups.push(() => closeSync(fd));
  return fd;
}

async function shareMemory({ link }: Session): Promise<void> {
  const region = { guestAddress: 0, size: SIZE, userAddress: USER, mmapOffset: 0 };
  await link.request('SET_MEM_TABLE', [region], { fds: [guestFile()] });
}

/** A queue of 8 whose rings lie one page apart from `at` on. */
async function startQueue({ link }: Session, index = 0, base = 0, at = 0): Promise<{ kick: number; call: number }> {
  const kick = efd();
  const call = efd();
  await link.request('SET_VRING_NUM', { index, num: 8 });
  await link.request('SET_VRING_BASE', { index, num: base });
  const address = {
    index,
    flags: 0,
    descriptor: USER + at,
    available: USER + at + 4096,
    used: USER + at + 8192,
    log: 0,
  };
  await link.request('SET_VRING_ADDR', address);
  await link.request('SET_VRING_CALL', BigInt(index), { fds: [call] });
  await link.request('SET_VRING_KICK', BigInt(index), { fds: [kick] });
  await link.request('SET_VRING_ENABLE', { index, num: 1 });
  return { kick, call };
}

test('offers what it can do, and takes what was offered', async () => {
  const { link, device } = connect();
  const { value: features } = await link.request('GET_FEATURES', undefined);
  expect(features & PROTOCOL_FEATURES).toBe(PROTOCOL_FEATURES);
  expect(features & (1n << 26n)).not.toBe(0n);
  const { value: protocol } = await link.request('GET_PROTOCOL_FEATURES', undefined);
  const names = Object.entries(ProtocolFeature).filter(([, bit]) => ((protocol >> BigInt(bit)) & 1n) === 1n);
  expect(names.map(([name]) => name)).toEqual([
    'mq',
    'logShmfd',
    'replyAck',
    'backendReq',
    'config',
    'backendSendFd',
    'inflightShmfd',
    'resetDevice',
    'configureMemSlots',
    'status',
    'deviceState',
  ]);
  await link.request('SET_PROTOCOL_FEATURES', protocol);
  await link.request('SET_OWNER', undefined, { acknowledge: true });
  await link.request('SET_FEATURES', features & ~(1n << 26n), { acknowledge: true });
  expect(device.events).toEqual([`features 0x${device.features.toString(16)}`]);
  expect((await link.request('GET_QUEUE_NUM', undefined)).value).toBe(2n);
});

test('refuses in words where there are any, and goes on', async () => {
  const { link, log } = await negotiated(['config']);
  await expect(link.request('SET_VRING_NUM', { index: 9, num: 8 })).rejects.toThrow('the back end answered 1');
  await expect(link.request('SET_VRING_NUM', { index: 0, num: 0 })).rejects.toThrow('answered 1');
  await expect(link.request('SET_VRING_NUM', { index: 0, num: 257 })).rejects.toThrow('answered 1');
  await expect(link.request('SET_FEATURES', 1n << 60n)).rejects.toThrow('answered 1');
  await expect(link.request('SET_PROTOCOL_FEATURES', 1n << 60n)).rejects.toThrow('answered 1');
  await expect(link.request('SET_VRING_ENABLE', { index: 0, num: 2 })).rejects.toThrow('answered 1');
  const iotlb = { iova: 0n, size: 4096n, userAddress: 0n, permissions: 3, type: 2 };
  expect((await link.request('IOTLB_MSG', iotlb)).value).toBe(1n);
  await expect(link.request('GET_CONFIG', { offset: 256, flags: 0, bytes: new Uint8Array(4) })).rejects.toThrow(
    'empty',
  );
  await expect(link.request('POSTCOPY_LISTEN', undefined)).rejects.toThrow('answered 1');
  await expect(link.request('GPU_SET_SOCKET', undefined)).rejects.toThrow('answered 1');
  // An unknown request.
  await link.send(encodeMessage(99, 1 | 8, new Uint8Array(0)));
  expect(decodePayload('u64', (await link.answer('99', 99)).payload)).toBe(1n);
  expect(link.open).toBe(true);
  expect(log).toContain('SET_VRING_NUM is refused: there is no queue 9, of 2');
  expect(log).toContain('request 99 is refused: it is unknown');
});

test('ends the connection where it can say no in no other way', async () => {
  const { link, backend } = connect();
  await link.request('SET_VRING_NUM', { index: 9, num: 8 });
  const end = await backend.closed;
  expect(end.by).toBe('error');
  expect(isRuntimeError(end.error, 'SDK_ERR_VHOST_USER_REFUSED')).toBe(true);
  await link.closed;
});

const message = (id: number, flags: number, payload: Uint8Array = new Uint8Array(0)) =>
  encodeMessage(id, flags, payload);

test.each([
  ['another version', message(1, 2), [], 'flags 0x2'],
  ['an answer', message(1, 5), [], 'flags 0x5'],
  ['a payload that is too long', new Uint8Array(new Uint32Array([1, 1, 5000]).buffer), [], '5000 bytes'],
  ['a payload of another size', message(2, 1, new Uint8Array(7)), [], '7 bytes is no u64'],
  ['more regions than there may be', message(5, 1, new Uint8Array(8 + 9 * 32).fill(9, 0, 1)), [], 'no memory-table'],
  ['an address over 2^53', message(9, 1, new Uint8Array(40).fill(255)), [], 'over 2^53'],
  ['a descriptor too many', message(3, 1), [0], 'SET_OWNER came with 1 descriptors'],
  ['more descriptors than any message has', message(3, 1), [0, 0, 0, 0, 0, 0, 0, 0, 0], 'more descriptors'],
])('ends the connection for %s', async (_, bytes, fds, why) => {
  const { link, backend } = connect();
  const before = readdirSync('/proc/self/fd').length;
  await link.send(bytes, fds);
  const { error } = await backend.closed;
  expect(isRuntimeError(error, 'SDK_ERR_VHOST_USER_PROTOCOL') && error.message).toContain(why);
  expect(readdirSync('/proc/self/fd').length).toBeLessThan(before);
});

test('reads messages in whatever pieces they come', async () => {
  const { link } = connect();
  const bytes = message(1, 1);
  for (const byte of bytes) {
    await link.send(Uint8Array.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect((await link.answer('GET_FEATURES', 1)).payload.length).toBe(8);
  // Several at once.
  await link.send(Uint8Array.of(...bytes, ...bytes, ...bytes));
  for (let i = 0; i < 3; i++) expect((await link.answer('GET_FEATURES', 1)).payload.length).toBe(8);
});

test('starts a queue when it was kicked off and enabled, and answers where it stopped', async () => {
  const session = await negotiated([]);
  const { link, device, backend } = session;
  await shareMemory(session);
  await startQueue(session, 1, 5);
  expect(device.events.at(-1)).toBe('start 1 8 5');
  await link.request('SET_VRING_ENABLE', { index: 1, num: 0 });
  expect(device.events.at(-1)).toBe('stop 1');
  await link.request('SET_VRING_ENABLE', { index: 1, num: 1 });
  expect(device.events.at(-1)).toBe('start 1 8 5');
  await expect(link.request('SET_VRING_NUM', { index: 1, num: 4 })).rejects.toThrow('answered 1');
  await expect(link.request('SET_VRING_BASE', { index: 1, num: 4 })).rejects.toThrow('answered 1');
  expect((await link.request('GET_VRING_BASE', { index: 1, num: 0 })).value).toEqual({ index: 1, num: 5 });
  expect(device.events.at(-1)).toBe('stop 1');
  // Stopped, and enabled still: it needs a kick to start again.
  expect(backend.describe()).toMatchObject({ queues: [{}, { started: false, enabled: true, running: false }] });
});

test('without protocol features a queue is enabled from the beginning', async () => {
  const session = connect();
  const { link, device } = session;
  await link.request('SET_FEATURES', 1n << 32n);
  await shareMemory(session);
  await link.request('SET_VRING_NUM', { index: 0, num: 8 });
  await link.request('SET_VRING_ADDR', {
    index: 0,
    flags: 0,
    descriptor: USER,
    available: USER + 4096,
    used: USER + 8192,
    log: 0,
  });
  await link.request('SET_VRING_KICK', 0n, { fds: [efd()] });
  await link.request('GET_FEATURES', undefined);
  expect(device.events.at(-1)).toBe('start 0 8 0');
});

test('refuses rings that are not in shared memory, and tells so by the error eventfd', async () => {
  const session = await negotiated([]);
  const { link } = session;
  await shareMemory(session);
  const error = efd();
  await link.request('SET_VRING_ERR', 0n, { fds: [error] });
  await expect(startQueue(session, 0, 0, SIZE)).rejects.toThrow('SET_VRING_ENABLE');
  expect(drainEventfd(error)).toBe(true);
  await startQueue(session, 0);
});

test('a queue goes on in changed memory', async () => {
  const session = await negotiated(['configureMemSlots']);
  const { link, device } = session;
  expect((await link.request('GET_MAX_MEM_SLOTS', undefined)).value).toBe(64n);
  const first = { guestAddress: 0, size: SIZE, userAddress: USER, mmapOffset: 0 };
  const second = { guestAddress: SIZE, size: SIZE, userAddress: USER + SIZE, mmapOffset: 4096 };
  const fd = guestFile();
  await link.request('ADD_MEM_REG', first, { fds: [fd] });
  await startQueue(session);
  await link.request('ADD_MEM_REG', second, { fds: [guestFile(SIZE + 4096)] });
  expect(device.events.slice(-3)).toEqual(['start 0 8 0', 'stop 0', 'start 0 8 0']);
  await link.request('REM_MEM_REG', second);
  await expect(link.request('REM_MEM_REG', second)).rejects.toThrow('answered 1');
  // Its memory is gone and comes back: it stops and starts.
  await link.request('REM_MEM_REG', first, { fds: [fd] });
  expect(device.events.at(-1)).toBe('stop 0');
  await expect(link.request('ADD_MEM_REG', { ...second, guestAddress: SIZE / 2 }, { fds: [fd] })).rejects.toThrow('1');
});

test('memory that is added twice is there until it was removed twice', async () => {
  const { link, device } = await negotiated(['configureMemSlots']).then(async (session) => {
    await session.link.request(
      'ADD_MEM_REG',
      { guestAddress: 0, size: SIZE, userAddress: USER, mmapOffset: 0 },
      { fds: [guestFile()] },
    );
    return session;
  });
  const region = { guestAddress: SIZE, size: SIZE, userAddress: USER + SIZE, mmapOffset: 0 };
  const fd = guestFile();
  const before = device.events.length;
  await link.request('ADD_MEM_REG', region, { fds: [fd] });
  await link.request('ADD_MEM_REG', region, { fds: [fd] });
  await expect(link.request('ADD_MEM_REG', region, { fds: [guestFile()] })).rejects.toThrow('answered 1');
  await link.request('REM_MEM_REG', region);
  await link.request('REM_MEM_REG', region);
  await expect(link.request('REM_MEM_REG', region)).rejects.toThrow('answered 1');
  expect(device.events.length).toBe(before);
});

test('refuses memory that its file does not hold', async () => {
  const { link } = await negotiated([]);
  const region = { guestAddress: 0, size: SIZE + 4096, userAddress: USER, mmapOffset: 0 };
  await expect(link.request('SET_MEM_TABLE', [region], { fds: [guestFile()] })).rejects.toThrow('answered 1');
  const beyond = { guestAddress: 0, size: SIZE, userAddress: USER, mmapOffset: 4096 };
  await expect(link.request('SET_MEM_TABLE', [beyond], { fds: [guestFile()] })).rejects.toThrow('answered 1');
  await expect(link.request('SET_MEM_TABLE', [region], { fds: [efd()] })).rejects.toThrow('answered 1');
  const twice = { guestAddress: 0, size: SIZE, userAddress: USER, mmapOffset: 0 };
  await expect(link.request('SET_MEM_TABLE', [twice, twice], { fds: [guestFile(), guestFile()] })).rejects.toThrow('1');
});

test('takes eventfds only, or none', async () => {
  const { link } = await negotiated([]);
  await expect(link.request('SET_VRING_KICK', 0n, { fds: [guestFile()] })).rejects.toThrow('answered 1');
  await expect(link.request('SET_VRING_CALL', 0n)).rejects.toThrow('answered 1');
  await expect(link.request('SET_VRING_CALL', 7n, { fds: [efd()] })).rejects.toThrow('answered 1');
  await link.request('SET_VRING_CALL', BigInt(NO_FD));
  await link.request('SET_VRING_KICK', BigInt(NO_FD) | 1n);
});

test('reads and writes the configuration space, within its bounds', async () => {
  const { link, device } = await negotiated(['config']);
  device.config.set([1, 2, 3, 4], 12);
  const read = await link.request('GET_CONFIG', { offset: 12, flags: 0, bytes: new Uint8Array(8) });
  expect([...read.value.bytes]).toEqual([1, 2, 3, 4, 0, 0, 0, 0]);
  await link.request('SET_CONFIG', { offset: 2, flags: 0, bytes: Uint8Array.of(7, 8) });
  expect([...device.config.subarray(0, 4)]).toEqual([0, 0, 7, 8]);
  await expect(link.request('SET_CONFIG', { offset: 15, flags: 0, bytes: new Uint8Array(2) })).rejects.toThrow('1');
  const { link: without } = connect();
  await without.send(encodeMessage(24, 1, encodePayload('config', { offset: 0, flags: 0, bytes: new Uint8Array(4) })));
  expect((await without.answer('GET_CONFIG', 24)).payload.length).toBe(0);
});

test('tells the front end of changed configuration, and not while the device is at rest', async () => {
  const session = await negotiated(['config', 'backendReq']);
  const { link, backend } = session;
  await link.openChannel();
  const asked: string[] = [];
  link.onAsked = ({ name }) => {
    asked.push(name);
    return 0n;
  };
  backend.notifyConfigChange();
  await shareMemory(session);
  expect(asked).toEqual([]);
  await startQueue(session);
  await expect.poll(() => asked).toEqual(['CONFIG_CHANGE_MSG']);
  backend.notifyConfigChange();
  await expect.poll(() => asked).toEqual(['CONFIG_CHANGE_MSG', 'CONFIG_CHANGE_MSG']);
});

test('has the front end map shared memory, and hears when it will not', async () => {
  const { link, backend } = await negotiated(['shmem', 'backendReq', 'backendSendFd'], { sharedMemory: [0, 1 << 20] });
  expect((await link.request('GET_SHMEM_CONFIG', undefined)).value).toEqual([0, 1 << 20]);
  const mapping = { shmid: 1, fdOffset: 0, shmOffset: 4096, length: 4096, flags: 1 };
  await expect(backend.shmemMap(0, mapping)).rejects.toThrow('no channel');
  await link.openChannel();
  const asked: unknown[] = [];
  let answer = 0n;
  link.onAsked = ({ name, payload, fds }) => {
    asked.push([name, payload, fds.length]);
    closeFds(fds);
    return answer;
  };
  await backend.shmemMap(guestFile(), mapping);
  await backend.shmemUnmap(mapping);
  expect(asked).toEqual([
    ['SHMEM_MAP', mapping, 1],
    ['SHMEM_UNMAP', mapping, 0],
  ]);
  answer = 22n;
  await expect(backend.shmemUnmap(mapping)).rejects.toThrow('the front end answered 22');
});

test('keeps in-flight records in memory of the front end', async () => {
  const session = await negotiated(['inflightShmfd']);
  const { link, backend } = session;
  const ask = { mmapSize: 0, mmapOffset: 0, queues: 2, queueSize: 128 };
  const { value, fds } = await link.request('GET_INFLIGHT_FD', ask);
  const [fd] = fds as [number];
  cleanups.push(() => closeSync(fd));
  expect(value).toMatchObject({ mmapOffset: 0, queues: 2, queueSize: 128 });
  expect(fstatSync(fd).size).toBe(value.mmapSize);
  await link.request('SET_INFLIGHT_FD', value, { fds });
  expect(backend.describe()).toMatchObject({ inflight: true });
  await expect(link.request('SET_INFLIGHT_FD', { ...value, queueSize: 256 }, { fds })).rejects.toThrow('answered 1');
  await expect(link.request('SET_INFLIGHT_FD', { ...value, mmapOffset: 4096 }, { fds })).rejects.toThrow('answered 1');
  // The struct without its padding is answered without it.
  await link.send(encodeMessage(31, 1, encodePayload('inflight', ask).subarray(0, 20)));
  const answer = await link.answer('GET_INFLIGHT_FD', 31);
  closeFds(answer.fds);
  expect(answer.payload.length).toBe(20);
});

test('marks what is written in the log of dirty pages', async () => {
  const session = await negotiated(['logShmfd']);
  const { link, backend, device } = session;
  await shareMemory(session);
  await startQueue(session);
  const log = guestFile(4096 + 8);
  await link.request('SET_LOG_BASE', { size: 8, offset: 4096 }, { fds: [log] });
  await link.request('SET_LOG_FD', undefined, { fds: [efd()] });
  expect(backend.describe()).toMatchObject({ logging: false });
  await link.request('SET_FEATURES', PROTOCOL_FEATURES | (1n << 32n) | (1n << 26n));
  expect(backend.describe()).toMatchObject({ logging: true });
  // Restarted with the log, in the same place.
  expect(device.events.slice(-2)).toEqual(['stop 0', 'start 0 8 0']);
  await expect(link.request('SET_LOG_BASE', { size: 16, offset: 4096 }, { fds: [log] })).rejects.toThrow();
});

test('the state of the device goes through a pipe, out and in', async () => {
  const { link, device } = await negotiated(['deviceState']);
  device.state = new Uint8Array(200_000).fill(7);
  const [saved, writeEnd] = socketPair('stream');
  cleanups.push(() => closeSync(saved));
  const answer = await link.request('SET_DEVICE_STATE_FD', { direction: 0, phase: 0 }, { fds: [writeEnd] });
  closeSync(writeEnd);
  expect(answer.value).toBe(BigInt(NO_FD));
  const parts: Uint8Array[] = [];
  for (;;) {
    const part = Buffer.alloc(65_536);
    let count = -1;
    try {
      count = readSync(saved, part);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (count === 0) break;
    if (count > 0) parts.push(part.subarray(0, count));
  }
  expect(Buffer.concat(parts).equals(device.state)).toBe(true);
  expect((await link.request('CHECK_DEVICE_STATE', undefined)).value).toBe(0n);

  const [readEnd, load] = socketPair('stream');
  await link.request('SET_DEVICE_STATE_FD', { direction: 1, phase: 0 }, { fds: [readEnd] });
  closeSync(readEnd);
  writeSync(load, Uint8Array.of(5, 6));
  closeSync(load);
  expect((await link.request('CHECK_DEVICE_STATE', undefined)).value).toBe(0n);
  expect([...device.state]).toEqual([5, 6]);
});

test('a state that the device does not take is told', async () => {
  const { link } = await negotiated(['deviceState']);
  const [readEnd, load] = socketPair('stream');
  await link.request('SET_DEVICE_STATE_FD', { direction: 1, phase: 0 }, { fds: [readEnd] });
  closeSync(readEnd);
  closeSync(load);
  expect((await link.request('CHECK_DEVICE_STATE', undefined)).value).toBe(1n);
  const odd = await link.request('SET_DEVICE_STATE_FD', { direction: 2, phase: 0 }, { fds: [guestFile()] });
  expect(odd.value).toBe(1n);
});

test('resets when it is told to, and sees when the driver has reset by itself', async () => {
  const session = await negotiated(['resetDevice', 'status']);
  const { link, device } = session;
  await shareMemory(session);
  await startQueue(session, 0, 3);
  await link.request('SET_STATUS', 15n);
  expect((await link.request('GET_STATUS', undefined)).value).toBe(15n);
  // A pause of QEMU: rings stop, status 0, and later the same base again.
  await link.request('GET_VRING_BASE', { index: 0, num: 0 });
  await link.request('SET_STATUS', 0n);
  await startQueue(session, 0, 3);
  expect(device.events).not.toContain('reset');
  // A reset of the driver: the ring begins at 0 although it has been used.
  await link.request('GET_VRING_BASE', { index: 0, num: 0 });
  await startQueue(session, 0, 0);
  expect(device.events.filter((event) => event === 'reset')).toHaveLength(1);
  await link.request('RESET_DEVICE', undefined);
  expect(device.events.slice(-2)).toEqual(['stop 0', 'reset']);
  await link.request('SET_FEATURES', PROTOCOL_FEATURES | (1n << 32n));
  await startQueue(session, 0, 0);
});

test('what only network devices do is asked of them', async () => {
  const macs: string[] = [];
  const net = {
    setMtu: (mtu: number) => mtu <= 9000,
    sendRarp: (mac: Uint8Array) => void macs.push(Buffer.from(mac).toString('hex')),
  };
  const { link } = await negotiated(['mtu', 'rarp'], { net });
  await link.request('NET_SET_MTU', 1500n);
  await expect(link.request('NET_SET_MTU', 9001n)).rejects.toThrow('answered 1');
  await expect(link.request('NET_SET_MTU', 67n)).rejects.toThrow('answered 1');
  await link.request('SEND_RARP', 0x0000_5634_1200_5452n);
  expect(macs).toEqual(['525400123456']);
  const { link: other } = await negotiated([]);
  await expect(other.request('NET_SET_MTU', 1500n)).rejects.toThrow('answered 1');
});

test('kicks and calls can be messages', async () => {
  const session = await negotiated(['inbandNotifications', 'backendReq'], { inband: true });
  const { link, device } = session;
  await link.openChannel();
  await shareMemory(session);
  await link.request('SET_VRING_NUM', { index: 0, num: 8 });
  await link.request('SET_VRING_ADDR', {
    index: 0,
    flags: 0,
    descriptor: USER,
    available: USER + 4096,
    used: USER + 8192,
    log: 0,
  });
  await link.request('SET_VRING_ENABLE', { index: 0, num: 1 });
  expect(device.events.at(-1)).not.toContain('start');
  await link.request('VRING_KICK', { index: 0, num: 0 });
  expect(device.events.at(-1)).toBe('start 0 8 0');
  const lonely = connect({ inband: true });
  await lonely.link.request('SET_PROTOCOL_FEATURES', featureBits(['inbandNotifications']));
  expect(isRuntimeError((await lonely.backend.closed).error, 'SDK_ERR_VHOST_USER_REFUSED')).toBe(true);
});

test('leaves nothing behind when the front end goes away', async () => {
  const before = readdirSync('/proc/self/fd').length;
  const session = await negotiated(['inflightShmfd', 'backendReq', 'logShmfd']);
  await session.link.openChannel();
  await shareMemory(session);
  await startQueue(session);
  await startQueue(session, 1);
  session.link.close();
  expect((await session.backend.closed).by).toBe('front-end');
  expect(session.device.events.slice(-2)).toEqual(['stop 0', 'stop 1']);
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});

test('a front end that comes back may go on with what it negotiated before', async () => {
  const { link } = connect();
  await link.request('SET_FEATURES', PROTOCOL_FEATURES);
  expect((await link.request('GET_STATUS', undefined)).value).toBe(0n);
  const { link: careful } = connect();
  await careful.request('GET_FEATURES', undefined);
  await careful.request('SET_FEATURES', PROTOCOL_FEATURES);
  await expect(careful.request('GET_STATUS', undefined)).rejects.toThrow();
});
