// What programs do with VMs through `connect` of the SDK: over the control socket, to a vshd that stands for those of VMs.

import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type ControlServer, startControlServer } from '@runtime/core/control';
import { connect, definePlugin, type RuntimeClient } from '@runtime/sdk';
import { createTestRuntime, fakeLogger, type TestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startVshd } from '../../guest/src/vshd/index.ts';
import type { TerminaVm } from '../contract.ts';
import { START_OPTIONS } from './start.ts';
import { addVsh } from './vsh-commands.ts';

const folder = mkdtempSync(join(tmpdir(), 'vsh-client-'));
let calls: string[] = [];
let runtime: TestRuntime;
let control: ControlServer;
let server: Server;
let client: RuntimeClient;

const concierge = {
  startVm: async () => ({}) as TerminaVm,
  stopVm: async () => {},
  endpoint: async () => ({ cid: 3, directory: folder }),
};
const plugin = definePlugin({
  name: 'crostini',
  setup({ commands }) {
    addVsh(commands, concierge);
    const args = [{ name: 'name', summary: 'name', variadic: true }] as const;
    commands.add(
      { name: 'start', summary: 'start', args, options: START_OPTIONS },
      async ({ args: [name], options, io }) => {
        calls.push(`start ${name} ${options.profile} ${options.mem}`);
        await io.progress('booting', 0.5);
      },
    );
    commands.add({ name: 'stop', summary: 'stop', args }, ({ args: [name] }) => void calls.push(`stop ${name}`));
    const options = { quiet: { type: 'boolean', summary: 'names' } } as const;
    commands.add({ name: 'list', summary: 'list', options }, async ({ io }) => await io.out('one'));
  },
});

beforeAll(async () => {
  runtime = await createTestRuntime({ plugins: [plugin] });
  const socketPath = join(folder, 'control.sock');
  const host = {
    recorder: undefined,
    find: async () => Promise.reject(new Error()),
    settings: () => ({}),
    requestStop() {},
  };
  control = await startControlServer({ runtime, host, log: fakeLogger(), socketPath });
  server = createServer({ allowHalfOpen: true });
  startVshd(
    (onConnection) => server.on('connection', (stream) => onConnection(stream, { cid: 2, port: 1 })),
    () => {},
  );
  await new Promise<void>((resolve) => server.listen(join(folder, 'vsock.sock.g9001'), resolve));
  client = await connect({ path: socketPath });
});
beforeEach(() => {
  calls = [];
});
afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await control[Symbol.asyncDispose]();
  await runtime[Symbol.asyncDispose]();
  server.close();
  rmSync(folder, { recursive: true });
});

const user = 'root';

test('a VM is there for a block, and its commands have results', async () => {
  const stages: string[] = [];
  {
    await using vm = await client.vms.start({
      profile: 'fast',
      memoryMib: 512,
      onProgress: (stage) => stages.push(stage),
    });
    const result = await vm.exec(['sh', '-c', 'cat; echo "$A $PWD"; echo oops >&2; exit 3'], {
      ...{ user, input: 'in ', env: { A: 'b=c' }, cwd: '/usr' },
    });
    expect(result).toEqual({ code: 3, stdout: Buffer.from('in b=c /usr\n'), stderr: Buffer.from('oops\n') });
    expect(calls).toEqual([`start ${vm.name} fast 512`]);
  }
  expect(calls).toHaveLength(2);
  expect(calls[1]).toMatch(/^stop vm-[0-9a-f]{8}$/);
  expect(stages).toEqual(['booting']);
  expect(await client.vms.list()).toEqual(['one']);
});

test('a process has streams, which carry bytes as they are however slow the reader', async () => {
  const child = client.vms.get('one').spawn(['cat'], { user });
  const block = Buffer.alloc(
    1 << 20,
    Uint8Array.from({ length: 253 }, (_, i) => i),
  );
  const [sent, got] = [createHash('sha256'), createHash('sha256')];
  const write = async (): Promise<void> => {
    for (let i = 0; i < 8; i++) {
      sent.update(block);
      if (!child.stdin.write(block)) await new Promise((resolve) => child.stdin.once('drain', resolve));
    }
    child.stdin.end();
  };
  const read = async (): Promise<void> => {
    for await (const chunk of child.stdout) got.update(chunk);
  };
  child.stderr.resume();
  await Promise.all([write(), new Promise((resolve) => setTimeout(resolve, 200)).then(read)]);
  expect(await child.exit).toBe(0);
  expect(got.digest('hex')).toBe(sent.digest('hex'));
});

test('a process with a terminal follows its size', async () => {
  const argv = ['sh', '-c', 'trap "stty size; exit 4" WINCH; echo ready; while :; do sleep 0.02; done'];
  await using child = client.vms.get('one').spawn(argv, { user, pty: { rows: 10, columns: 20 } });
  child.stdout.once('data', () => child.resize({ rows: 30, columns: 40 }));
  expect(await text(child.stdout)).toContain('30 40');
  expect(await child.exit).toBe(4);
});

test('an abort interrupts the command, and leaving its block does', async () => {
  const controller = new AbortController();
  const vm = client.vms.get('one');
  const running = vm.exec(['sleep', '30'], { user, signal: controller.signal });
  setTimeout(() => controller.abort(), 100);
  expect(await running).toMatchObject({ code: 130 });
  let exit: Promise<number>;
  {
    await using child = vm.spawn(['sleep', '30'], { user });
    exit = child.exit;
  }
  expect(await exit).toBe(130);
});

test('failures have their codes', async () => {
  const vm = client.vms.get('one');
  await expect(vm.exec(['true'], { user: 'nobody-here' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_NOT_RUN' });
  await expect(vm.exec(['yes'], { user, maxBytes: 100_000 })).rejects.toMatchObject({
    code: 'SDK_ERR_OUTPUT_TOO_LONG',
  });
  await expect(vm.copyOut('/no/such/file', folder, { user })).rejects.toMatchObject({ code: 'CROSTINI_ERR_COPY' });
});

test('files are copied in and out', async () => {
  const vm = client.vms.get('one');
  writeFileSync(join(folder, 'in'), 'content');
  await vm.copyIn(join(folder, 'in'), join(folder, 'there'), { user });
  await vm.copyOut(join(folder, 'there'), join(folder, 'back'), { user });
  expect(readFileSync(join(folder, 'back'), 'utf8')).toBe('content');
  expect(existsSync(join(folder, 'there'))).toBe(true);
});

test('events come as they happen', async () => {
  const controller = new AbortController();
  const events = client.events('plugin:*', { signal: controller.signal });
  const first = events[Symbol.asyncIterator]().next();
  controller.abort();
  await expect(first).rejects.toMatchObject({ code: 'CORE_ERR_CANCELLED' });
});
