import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { adoptVsock, guestPortSocket, hostPortSocket, openVsock, vsockSocket } from './host.ts';
import { HostListeners, toCallback } from './host-listeners.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vsock-host-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const request = (options: unknown) => ({ vm: { name: 'a', directory }, options, signal: new AbortController().signal });

test('makes sockets that only the user can reach, and removes them', async () => {
  const half = await openVsock(request({ cid: 33, ports: [5000, 5000] }));
  expect(half.options).toEqual({ cid: 33 });
  expect(Object.keys(half.fds)).toEqual(['listen', 'port-5000']);
  for (const path of [vsockSocket(directory), guestPortSocket(directory, 5000)]) {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const socket = connect(path);
    await once(socket, 'connect');
    socket.destroy();
  }
  await half.close();
  expect(readdirSync(directory)).toEqual([]);
});

test('takes the place of what an earlier VM left', async () => {
  writeFileSync(vsockSocket(directory), '');
  const half = await openVsock(request({ cid: 33 }));
  expect(statSync(vsockSocket(directory)).isSocket()).toBe(true);
  await half.close();
});

test('refuses ports that there are not, before anything is made', async () => {
  await expect(openVsock(request({ cid: 33, ports: [1, 2 ** 32 - 1] }))).rejects.toMatchObject({
    code: 'VMM_ERR_VSOCK_PORT',
  });
  expect(readdirSync(directory)).toEqual([]);
});

test('connects calls of the guest to the socket of the port', async () => {
  const half = await openVsock(request({ cid: 33 }));
  const server = createServer((socket) => socket.end('hello')).listen(hostPortSocket(directory, 7));
  await once(server, 'listening');
  const { fds = [] } = (await half.handle?.('connect', { port: 7 }, [])) ?? {};
  const socket = new Socket({ fd: fds[0] as number, readable: true });
  expect(String((await once(socket, 'data'))[0])).toBe('hello');
  socket.destroy();
  server.close();
  await half.close();
});

test('or to whoever has put himself in the table, as long as he is there', async () => {
  const listeners = new HostListeners();
  const half = await openVsock(request({ cid: 33 }), listeners);
  const got: number[] = [];
  const registration = listeners.listen(
    'a',
    7,
    toCallback((fd) => got.push(fd)),
  );
  listeners.listen(
    'b',
    8,
    toCallback((fd) => got.push(fd)),
  );
  const answer = await half.handle?.('connect', { port: 7 }, []);
  expect(got).toHaveLength(1);
  for (const fd of [...got, ...(answer?.fds ?? [])]) closeSync(fd);
  registration[Symbol.dispose]();
  for (const port of [7, 8, -1, 2 ** 32, 'x', undefined])
    await expect(half.handle?.('connect', { port }, [])).rejects.toMatchObject({ code: 'VMM_ERR_VSOCK_REFUSED' });
  await half.close();
});

test('goes on with the sockets of a process that outlived the runtime', async () => {
  const first = await openVsock(request({ cid: 33, ports: [9] }));
  const second = await adoptVsock(request({ cid: 33, ports: [9] }), first.fds);
  expect(second.options).toEqual({ cid: 33 });
  await second.close();
  expect(existsSync(vsockSocket(directory))).toBe(false);
});
