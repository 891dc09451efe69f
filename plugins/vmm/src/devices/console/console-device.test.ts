import { closeSync } from 'node:fs';
import { FdSocket, setNonBlocking, setSocketOption, shutdownSocket, socketPair } from '@runtime/sdk/linux';
import { type DrivenDevice, type DriveOptions, driveDevice } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import device from './index.ts';

const RX = 0;
const TX = 1;

interface Rig extends AsyncDisposable {
  readonly driven: DrivenDevice;
  readonly host: FdSocket;
  readonly fd: number;
}

/** One socket is both descriptors: bytes of the guest come out at `host`, and what is sent there goes in. */
async function rig(
  options: DriveOptions & { readonly sendBuffer?: number; readonly noInput?: boolean } = {},
): Promise<Rig> {
  const { sendBuffer, noInput, ...drive } = options;
  const [input, typing] = socketPair('stream');
  const [output, screen] = socketPair('stream');
  if (sendBuffer !== undefined) setSocketOption(output, 'sendBuffer', sendBuffer);
  const sockets = [new FdSocket(typing), new FdSocket(screen)] as const;
  const driven = await driveDevice(device, {
    fds: { ...(noInput === true ? {} : { in: input }), out: output },
    ...drive,
  });
  const host = {
    send: (bytes: Uint8Array) => sockets[0].send(bytes),
    receive: (into: Uint8Array) => sockets[1].receive(into),
  } as FdSocket;
  return {
    driven,
    host,
    fd: screen,
    async [Symbol.asyncDispose]() {
      await driven[Symbol.asyncDispose]();
      for (const socket of sockets) socket[Symbol.dispose]();
      for (const fd of [input, typing, output, screen]) closeSync(fd);
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 3000; round++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error('waited in vain');
}

async function screenOf({ host }: Rig, bytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  const into = new Uint8Array(65_536);
  await until(() => {
    const part = host.receive(into);
    if (part !== undefined) parts.push(Buffer.from(into.subarray(0, part.bytes)));
    length += part?.bytes ?? 0;
    return length >= bytes;
  });
  return Buffer.concat(parts);
}

test('what the guest prints comes out', async () => {
  await using console = await rig();
  await console.driven.exchange([Buffer.from('hello, '), Buffer.from('world\n')], [], TX);
  expect(String(await screenOf(console, 13))).toBe('hello, world\n');
  expect(console.driven.stats).toEqual({ in: 0, out: 13, dropped: 0 });
});

test('what is typed comes in, and waits for buffers', async () => {
  await using console = await rig();
  console.host.send(Buffer.from('uname -a\n'));
  const queue = console.driven.queue(RX);
  queue.add([], [4]);
  queue.kick();
  expect(String(Buffer.from((await console.driven.completions(1, RX))[0]?.data ?? []))).toBe('unam');
  queue.add([], [2, 50]);
  queue.kick();
  expect(String(Buffer.from((await console.driven.completions(1, RX))[0]?.data ?? []))).toBe('e -a\n');
  queue.add([], [50]);
  queue.kick();
  console.host.send(Buffer.from('id\n'));
  expect(String(Buffer.from((await console.driven.completions(1, RX))[0]?.data ?? []))).toBe('id\n');
});

test('nothing is lost when the host is slow', async () => {
  await using console = await rig({ sendBuffer: 4096 });
  const queue = console.driven.queue(TX);
  const line = (i: number): Buffer => Buffer.from(`${String(i).padStart(7, '0')}${'.'.repeat(1000)}\n`);
  const parts: Buffer[] = [];
  const into = new Uint8Array(3000);
  let sent = 0;
  let length = 0;
  await until(() => {
    while (sent < 300 && queue.add([line(sent)], []) >= 0) sent++;
    queue.kick();
    queue.used();
    const part = console.host.receive(into);
    if (part !== undefined) parts.push(Buffer.from(into.subarray(0, part.bytes)));
    length += part?.bytes ?? 0;
    return length === 300 * 1008;
  });
  expect(Buffer.concat(parts).equals(Buffer.concat(Array.from({ length: 300 }, (_, i) => line(i))))).toBe(true);
  expect(console.driven.stats).toMatchObject({ out: 300 * 1008, dropped: 0 });
});

test('a buffer that is longer than what is kept loses its end, and says so', async () => {
  await using console = await rig({ sendBuffer: 4096 });
  await console.driven.exchange([new Uint8Array(500_000).fill(65)], [], TX);
  const { dropped = 0 } = console.driven.stats;
  expect(dropped).toBeGreaterThan(300_000);
  await screenOf(console, 500_000 - dropped);
  await until(() => (console.driven.stats.out ?? 0) === 500_000 - dropped);
  expect(console.driven.ram.intact).toBe(true);
});

test('the guest goes on when nobody looks any more', async () => {
  await using console = await rig();
  shutdownSocket(console.fd, 'both');
  for (let i = 0; i < 3; i++) await console.driven.exchange([Buffer.from('anybody?')], [], TX);
  expect(console.driven.stats).toEqual({ in: 0, out: 0, dropped: 24 });
});

test('the size of the terminal is told, and its changes', async () => {
  await using console = await rig({ options: { columns: 80, rows: 25 } });
  const size = (): number[] => [...new Uint16Array(console.driven.runner.readConfig(0, 8).slice().buffer)];
  expect(size()).toEqual([80, 25, 1, 0]);
  expect(await console.driven.runner.handle('resize', { columns: 200, rows: 50 }, [])).toEqual({
    columns: 200,
    rows: 50,
  });
  expect([size(), console.driven.configChanges]).toEqual([[200, 50, 1, 0], 1]);
  console.driven.runner.writeConfig(0, new Uint8Array(12).fill(0xff));
  expect(size()).toEqual([200, 50, 1, 0]);
  for (const bad of [null, {}, { columns: 0, rows: 1 }, { columns: 80, rows: 65_536 }]) {
    await expect(console.driven.runner.handle('resize', bad, [])).rejects.toThrow('columns and rows must be');
  }
  await expect(console.driven.runner.handle('clear', null, [])).rejects.toThrow('request "clear" is unknown');
});

test('new code has what was typed and what is owed', async () => {
  await using console = await rig({ sendBuffer: 4096 });
  await console.driven.exchange([new Uint8Array(30_000).fill(66)], [], TX);
  console.host.send(Buffer.from('typed'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  await console.driven.runner.replace(device as never);
  const queue = console.driven.queue(RX);
  queue.add([], [50]);
  queue.kick();
  expect(String(Buffer.from((await console.driven.completions(1, RX))[0]?.data ?? []))).toBe('typed');
  const screen = await screenOf(console, 30_000);
  expect([screen.length, screen.every((byte) => byte === 66)]).toEqual([30_000, true]);
});

test('works without input', async () => {
  await using console = await rig({ noInput: true });
  await console.driven.exchange([Buffer.from('log')], [], TX);
  expect(String(await screenOf(console, 3))).toBe('log');
});

test('descriptors that would stop the device are refused', async () => {
  const [one, other] = socketPair('stream');
  setNonBlocking(one, false);
  await expect(driveDevice(device, { fds: { out: one } })).rejects.toThrow(`descriptor ${one} blocks`);
  await expect(driveDevice(device, { fds: { in: other } })).rejects.toThrow('there is no descriptor "out"');
  for (const fd of [one, other]) closeSync(fd);
});
