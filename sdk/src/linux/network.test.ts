// Taps in a network namespace of a process of their own, and vsock to this machine.

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { isLinuxError } from './call.ts';
import { mapAnonymous } from './mapping.ts';
import { pollOne } from './poll.ts';
import { rawRead, rawWrite } from './raw-io.ts';
import { socketError } from './sockets.ts';
import { describeTap, openTap, setInterfaceUp } from './tun.ts';
import { acceptVsock, connectVsock, listenVsock, localCid, VSOCK, vsockName } from './vsock.ts';

const namespace = spawnSync('unshare', ['--net', 'true']).status === 0 && existsSync('/dev/net/tun');
if (!namespace)
  process.stdout.write('no network namespace can be made here, or /dev/net/tun is not there: taps are not tested\n');

test.skipIf(!namespace)('frames go through a tap, with and without a header, by one queue or two', () => {
  const program = join(import.meta.dirname, 'test-programs', 'taps.ts');
  const { stdout, stderr } = spawnSync(
    'unshare',
    ['--net', process.execPath, '--conditions=@runtime/source', program],
    {
      encoding: 'utf8',
    },
  );
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({
    names: ['tap0', 'rt-test', 'rt-test'],
    described: { name: 'tap0', vnetHeader: true, multiQueue: false },
    up: [false, true],
    mtu: [1500, 9000],
    mac: '02:00:00:00:00:07',
    header: 12,
    // The kernel greets a new network with IPv6 multicast.
    isMulticast: true,
    echoed: 'a neighbour advertisement',
    secondOpen: 'EBUSY',
    multi: { name: 'rt-test', vnetHeader: false, multiQueue: true },
    offload: 'EINVAL',
  });
});

test('names that no interface can have are refused', () => {
  for (const name of ['', 'x'.repeat(16), 'a/b', 'a b', 'a:b', '..', 'a\0b'])
    expect(() => openTap({ name })).toThrow('an interface name cannot be');
  expect(() => setInterfaceUp('no-such-thing', true)).toThrow('ioctl failed with ENODEV');
});

test('a descriptor that is no tap is told apart', () => {
  expect(() => describeTap(0)).toThrow(/ioctl failed with (ENOTTY|EBADFD|EINVAL|ENODEV)/);
});

test('vsock connects within this machine', async ({ skip }) => {
  let listening: number;
  try {
    listening = listenVsock({ cid: VSOCK.any, port: VSOCK.any });
  } catch (e) {
    if (!isLinuxError(e, 'EAFNOSUPPORT') && !isLinuxError(e, 'EADDRNOTAVAIL')) throw e;
    return skip(`vsock is not there: ${e.errnoName}`);
  }
  const { port } = vsockName(listening);
  expect(acceptVsock(listening)).toBeUndefined();
  let client: number;
  try {
    client = connectVsock({ cid: VSOCK.local, port });
  } catch (e) {
    closeSync(listening);
    if (!isLinuxError(e, 'ENODEV') && !isLinuxError(e, 'ENETUNREACH')) throw e;
    return skip(`there is no vsock loopback: ${e.errnoName}`);
  }
  // Without a loopback transport the connection goes to the hypervisor, which does not answer.
  if (!pollOne(client, 'writable', 300) || socketError(client) !== 0) {
    for (const fd of [listening, client]) closeSync(fd);
    return skip('there is no vsock loopback');
  }
  const server = await vi.waitUntil(() => acceptVsock(listening));
  expect(server.cid).toBe(VSOCK.local);
  using memory = mapAnonymous(16);
  const bytes = Buffer.from(memory.buffer);
  bytes.write('over vsock');
  await vi.waitUntil(() => rawWrite(client, memory.address, 10) === 10);
  bytes.fill(0);
  await vi.waitUntil(() => rawRead(server.fd, memory.address, 16) === 10);
  expect(bytes.toString('latin1', 0, 10)).toBe('over vsock');
  for (const fd of [listening, client, server.fd]) closeSync(fd);
});

test('addresses out of range are refused', () => {
  expect(() => listenVsock({ cid: 2 ** 32, port: 1 })).toThrow('cid cannot be 4294967296');
  expect(() => connectVsock({ cid: 2, port: -1 })).toThrow('port cannot be -1');
});

test.skipIf(!existsSync('/dev/vsock'))('this machine knows its address', () => {
  expect(localCid()).toBeGreaterThanOrEqual(0);
});
