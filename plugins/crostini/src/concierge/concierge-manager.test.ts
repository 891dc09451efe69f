import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { recordEvents } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import type { AdoptedLink, NetworkLink, Networks } from '../network/networks.ts';
import { DEFAULT_OWNER } from './names.ts';
import { networkOf } from './network.ts';
import { type Rig, startRig } from './test-rig.ts';

/** 100.115.92.24 */
const FIRST_SUBNET = 1_685_281_816;
const HANDSHAKE = ['ConfigureNetwork', 'SetResolvConfig', 'SetTimezone', 'SetTime', 'StartTermina'];

/** Nothing of any VM is left: no socket, record, lease or machine. */
async function expectNothingLeft({ fake, manager, runtime, root }: Rig): Promise<void> {
  expect(await manager.listVms()).toEqual([]);
  expect(readdirSync(join(root, 's'))).toEqual([]);
  expect(runtime.inspect().leases).toEqual([]);
  expect([...fake.machines.values()].filter(({ state }) => state === 'running')).toEqual([]);
  expect(
    readdirSync(join(root, 'state'), { recursive: true }).filter((name) => String(name).includes('vm%2F')),
  ).toEqual([]);
}

const linkOf = (subnet: number): NetworkLink => ({
  subnet,
  network: networkOf(BigInt(subnet)),
  attach: async () => {},
  [Symbol.asyncDispose]: async () => {},
});

const networksThat = (adopt: Networks['adopt']): Networks => ({
  open: async () => linkOf(FIRST_SUBNET),
  adopt,
  settle: async () => {},
});

function topics(rig: Rig): { readonly list: string[] } & Disposable {
  const recording = recordEvents(rig.runtime, 'termina:*');
  return {
    get list() {
      return recording.events.map(({ topic, data }) => ('reason' in data ? `${topic} ${data.reason}` : topic));
    },
    [Symbol.dispose]: () => recording[Symbol.dispose](),
  };
}

test('a VM starts in the order of ChromeOS, and stops when maitred is asked', async () => {
  await using rig = await startRig();
  using heard = topics(rig);
  const { fake, manager } = rig;
  const stages: string[] = [];
  const vm = await manager.start({ name: 'foo', memoryMib: 300 }, { onStage: (stage) => stages.push(stage) });
  expect(vm).toMatchObject({
    ...{
      name: 'foo',
      owner: DEFAULT_OWNER,
      machine: 't-foo',
      state: 'running',
      image: 'image-full',
      cid: 32,
      pid: 4242,
    },
    ...{ ipv4: '100.115.92.26', memoryMib: 300, cpus: 1 },
  });
  expect(fake.done).toEqual(HANDSHAKE);
  expect(fake.machines.get('t-foo')?.description).toEqual({
    ...{ name: 't-foo', kernel: '/k', initrd: '/i', params: ['quiet'], mem: 300, cpus: 1 },
    block: [
      { path: '/r', ro: true, format: 'raw' },
      { path: '/disks/foo.img', format: 'raw' },
    ],
    vsock: { ports: [8888, 8890, 9001] },
    balloon: true,
    net: [{ address: '100.115.92.26/30', gateway: '100.115.92.25', dns: '100.115.92.3' }],
  });
  // vm_tools: 100.115.92.26 is 442266468.
  expect(fake.requests.get('ConfigureNetwork')).toMatchObject({ ipv4_config: { address: 442_266_468 } });
  expect(fake.requests.get('SetResolvConfig')).toMatchObject({ resolv_config: { nameservers: ['100.115.92.3'] } });
  const { time } = fake.requests.get('SetTime') as { readonly time: { readonly seconds: bigint } };
  expect(Math.abs(Number(time.seconds) - Date.now() / 1_000)).toBeLessThan(5);
  expect(stages).toEqual([
    ...['preparing the image', 'making it', 'starting the machine', 'waiting for the guest', 'setting up the guest'],
    'mounting its disk',
  ]);
  expect(heard.list).toEqual(['termina:starting', 'termina:started']);
  expect(await manager.endpoint('foo')).toEqual({ cid: 32, directory: join(rig.root, 't-foo') });

  await manager.stopVm('foo');
  expect(fake.done).toEqual([...HANDSHAKE, 'Shutdown']);
  expect(heard.list.slice(2)).toEqual(['termina:stopping', 'termina:stopped STOP_VM_REQUESTED']);
  await expectNothingLeft(rig);
  await manager.stopVm('foo');
});

test('two starts of one name are one, and one that runs is left alone', async () => {
  await using rig = await startRig();
  const [a, b] = await Promise.all([rig.manager.startVm({ name: 'foo' }), rig.manager.startVm({ name: 'foo' })]);
  expect(b).toEqual(a);
  expect(await rig.manager.startVm({ name: 'foo' })).toEqual(a);
  expect(rig.fake.done).toEqual(HANDSHAKE);
  const other = await rig.manager.startVm({ name: 'Größe !', owner: 'AB' });
  expect(other).toMatchObject({
    machine: expect.stringMatching(/^t\.[0-9a-f]{16}$/),
    ipv4: '100.115.92.30',
    owner: 'ab',
  });
  expect((await rig.manager.listVms({ owner: 'AB' })).map(({ name }) => name)).toEqual(['Größe !']);
  await rig.manager.stopAllVms();
  await expectNothingLeft(rig);
});

test('a VM of the fast image has no disk of its own', async () => {
  await using rig = await startRig();
  await rig.manager.startVm({ name: 'foo', profile: 'fast' });
  expect(rig.fake.machines.get('t-foo')?.description.block).toEqual([{ path: '/r', ro: true, format: 'raw' }]);
  expect(rig.fake.done).toEqual(HANDSHAKE.slice(0, -1));
  expect(rig.manager.runningDisk(DEFAULT_OWNER, 'foo')).toBeUndefined();
  await rig.manager.stopVm('foo');
});

test('a time zone that the guest does not know keeps nothing from starting', async () => {
  await using rig = await startRig();
  rig.fake.behaviour = { failsAt: 'SetTimezone' };
  expect(await rig.manager.startVm({ name: 'foo' })).toMatchObject({ state: 'running' });
  await rig.manager.stopVm('foo');
});

test.each([
  [{ silent: true }, 'CROSTINI_ERR_VM_SILENT', /did not call within 1 s of its start\n {4}first\n {4}last words$/],
  [{ dies: true }, 'CROSTINI_ERR_VM_ENDED', /ended before it was ready \(the guest panicked\)\n {4}first/],
  [{ mount: 'FAILURE' }, 'CROSTINI_ERR_VM_START', /its disk could not be mounted \(FAILURE\)/],
  [{ failsAt: 'SetTime' }, 'CROSTINI_ERR_VM_START', /SetTime is not for you/],
])('a start that fails (%j) leaves nothing', async (behaviour, code, message) => {
  await using rig = await startRig();
  using heard = topics(rig);
  rig.fake.behaviour = behaviour;
  await expect(rig.manager.startVm({ name: 'foo' })).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
  await expectNothingLeft(rig);
  expect(heard.list).toEqual(['termina:starting', 'termina:stopped VM_EXITED']);
  rig.fake.behaviour = {};
  expect(await rig.manager.startVm({ name: 'foo' })).toMatchObject({ state: 'running' });
  await rig.manager.stopVm('foo');
});

test('a start that is cancelled leaves nothing, unless somebody else waits for it', async () => {
  await using rig = await startRig();
  rig.fake.behaviour = { silent: true };
  const [first, second] = [new AbortController(), new AbortController()];
  const one = rig.manager.start({ name: 'foo', timeoutMs: 30_000 }, { signal: first.signal });
  const two = rig.manager.start({ name: 'foo' }, { signal: second.signal });
  await expect.poll(() => rig.fake.machines.size).toBe(1);
  first.abort(new Error('no more'));
  await expect(one).rejects.toThrow('no more');
  expect(await rig.manager.getVm('foo')).toMatchObject({ state: 'starting' });
  second.abort(new Error('nor me'));
  await expect(two).rejects.toThrow('nor me');
  await expectNothingLeft(rig);
});

test('a stop ends a start that is under way', async () => {
  await using rig = await startRig();
  rig.fake.behaviour = { silent: true };
  const start = rig.manager.startVm({ name: 'foo', timeoutMs: 30_000 });
  start.catch(() => {});
  await expect.poll(() => rig.fake.machines.size).toBe(1);
  await rig.manager.stopVm('foo');
  await expect(start).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_STATE' });
  await expectNothingLeft(rig);
});

test.each([{ failsAt: 'Shutdown' }, { lingers: true }])(
  'a guest that does not shut down (%j) is ended',
  async (bad) => {
    await using rig = await startRig();
    await rig.manager.startVm({ name: 'foo' });
    rig.fake.behaviour = bad;
    await rig.manager.stopVm('foo');
    expect(rig.fake.done).toEqual([...HANDSHAKE, 'Shutdown', 'force']);
    await expectNothingLeft(rig);
  },
);

test('a VM that ends by itself is noticed', async () => {
  await using rig = await startRig();
  using heard = topics(rig);
  await rig.manager.startVm({ name: 'foo' });
  await rig.fake.end('t-foo', 'switched off');
  await rig.manager.untilGone('foo');
  expect(heard.list).toEqual(['termina:starting', 'termina:started', 'termina:stopped VM_EXITED']);
  await expectNothingLeft(rig);
  await expect(rig.manager.getVm('foo')).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_NOT_FOUND' });
});

test('only who is a VM may call, and only while it runs', async () => {
  await using rig = await startRig();
  await rig.manager.startVm({ name: 'foo' });
  expect(rig.manager.answer('t-bar', 7777)).toBeUndefined();
  expect(rig.manager.answer('t-foo', 7776)).toBeUndefined();
  await rig.fake.callReady('t-foo');
  rig.fake.behaviour = { lingers: true };
  const stop = rig.manager.stopVm('foo');
  await expect(rig.fake.callReady('t-foo')).rejects.toMatchObject({ code: 9 });
  await stop;
});

test('what is no call does not keep the guest from calling', async () => {
  await using rig = await startRig();
  await rig.manager.startVm({ name: 'foo', profile: 'fast' });
  const path = rig.manager.answer('t-foo', 7777)?.path ?? '';
  const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
  for (const bytes of [
    randomBytes(100_000),
    Buffer.from(preface),
    Buffer.concat([Buffer.from(preface), randomBytes(9_000)]),
  ]) {
    const socket = connect(path);
    socket.on('error', () => {});
    await new Promise((resolve) => socket.write(bytes, resolve));
    await rig.fake.callReady('t-foo');
    socket.destroy();
  }
  await rig.manager.stopVm('foo');
  await expectNothingLeft(rig);
});

test('many starts and stops leave no descriptor open', async () => {
  await using rig = await startRig();
  const cycle = async (): Promise<void> => {
    await rig.manager.startVm({ name: 'foo', profile: 'fast' });
    await rig.manager.stopVm('foo');
  };
  const open = (): number => readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 5; i++) await cycle();
  const before = open();
  for (let i = 0; i < 50; i++) await cycle();
  await expect.poll(open).toBeLessThanOrEqual(before + 3);
  await expectNothingLeft(rig);
});

test('a VM is suspended after its maitred was told, and gets the time when it goes on', async () => {
  await using rig = await startRig();
  await rig.manager.startVm({ name: 'foo' });
  await rig.manager.suspendVm('foo');
  await rig.manager.resumeVm('foo');
  expect(rig.fake.done.slice(HANDSHAKE.length)).toEqual(['PrepareToSuspend', 'pause', 'resume', 'SetTime']);
  await rig.manager.stopVm('foo');
});

test('VMs outlive the runtime, and are found again with their addresses', async () => {
  const first = await startRig();
  await first.manager.startVm({ name: 'gone' });
  const before = await first.manager.startVm({ name: 'foo' });
  first.fake.events = undefined;
  await using rig = await first.restart();
  expect(await rig.manager.getVm('foo')).toEqual(before);
  await expect.poll(() => rig.fake.done.filter((call) => call === 'GetKernelVersion').length).toBe(2);
  await rig.fake.callReady('t-foo');
  expect(await rig.manager.startVm({ name: 'new' })).toMatchObject({ ipv4: '100.115.92.34' });
  await rig.manager.stopAllVms();
  await expectNothingLeft(rig);
});

test('what ended meanwhile is forgotten, and a start that was not finished is undone', async () => {
  const first = await startRig();
  await first.manager.startVm({ name: 'ended' });
  await first.manager.startVm({ name: 'half' });
  const { fake, root } = first;
  await first.runtime[Symbol.asyncDispose]();
  fake.events = undefined;
  await fake.end('t-ended', 'while nobody looked');
  const { readFileSync, writeFileSync } = await import('node:fs');
  const files = readdirSync(join(root, 'state'), { recursive: true }).map((name) => join(root, 'state', String(name)));
  const file = files.find((path) => path.includes('half')) ?? '';
  writeFileSync(file, readFileSync(file, 'utf8').replace('"running"', '"starting"'));
  await using rig = await startRig({ root, fake });
  expect(fake.done.at(-1)).toBe('force');
  await expectNothingLeft(rig);
});

test('one that ends just while it is taken over is not kept', async () => {
  const first = await startRig();
  await first.manager.startVm({ name: 'foo' });
  const { fake } = first;
  const adopt = async ({ subnet }: AdoptedLink): Promise<NetworkLink> => {
    await fake.end('t-foo', 'switched off');
    return linkOf(subnet);
  };
  await using rig = await first.restart({ networks: networksThat(adopt) });
  await expectNothingLeft(rig);
  await rig.manager.stopVm('foo');
});

test('one that cannot be taken over is ended, and can be started again', async () => {
  const first = await startRig();
  await first.manager.startVm({ name: 'foo' });
  const adopt = async (): Promise<NetworkLink> => {
    throw new Error('somebody else has that network');
  };
  await using rig = await first.restart({ networks: networksThat(adopt) });
  expect(rig.fake.done.at(-1)).toBe('force');
  await expectNothingLeft(rig);
  expect(await rig.manager.startVm({ name: 'foo' })).toMatchObject({ state: 'running' });
});

test.each([
  ['', undefined, '0 bytes'],
  ['x'.repeat(61), undefined, '61 bytes'],
  ['a\u001bb', undefined, 'cannot be seen'],
  ['foo', 'xyz', 'not hexadecimal'],
])('refuses the name %j of owner %j', async (name, owner, why) => {
  await using rig = await startRig();
  const request = owner === undefined ? { name } : { name, owner };
  await expect(rig.manager.startVm(request)).rejects.toMatchObject({
    code: 'CROSTINI_ERR_VM_NAME',
    message: expect.stringContaining(why),
  });
});
