import { execFile, spawnSync } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { EventMap } from '@runtime/sdk';
import { type Bus, connectBus, DBUS_ERRORS, isRemoteError, type Value } from '@runtime/sdk/dbus';
import { memfdCreate } from '@runtime/sdk/linux';
import { hasDbusDaemon, type PrivateBus, startPrivateBus } from '@runtime/sdk/testing';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Concierge, StartTermina, TerminaVm } from '../contract.ts';
import type { DiskJob, Disks } from '../contract-disks.ts';
import { errors } from '../errors.ts';
import { conciergeWire } from '../wire/index.ts';
import { dnsSettings, watchDns } from './dns-settings.ts';
import { type DbusService, startDbus } from './index.ts';
import {
  METHODS,
  type MethodName,
  type MethodRow,
  NEVER_SENT,
  OBJECT_PATH,
  SERVICE,
  SIGNALS,
  type SignalName,
} from './methods.ts';
import { hasPython, PYTHON, writeProtos } from './test-python.ts';
import { UNSUPPORTED } from './unsupported.ts';
import { inAddr } from './vm-info.ts';

const run = promisify(execFile);
/** Of systemd. */
const hasBusctl = spawnSync('busctl', ['--version'], { stdio: 'ignore' }).status === 0;
const OWNER = 'a1b2c3';
const DISK = '/disks/termina.img';
const PING = { interface: 'org.freedesktop.DBus.Peer', member: 'Ping' };
const openFds = (): number => readdirSync('/proc/self/fd').length;

class FakeConcierge implements Partial<Concierge> {
  readonly vms = new Map<string, TerminaVm>();
  readonly asked: unknown[] = [];

  async startVm(request: StartTermina): Promise<TerminaVm> {
    this.asked.push(request);
    if (request.name === 'broken')
      throw errors.CROSTINI_ERR_VM_START({ details: { vm: 'broken', why: 'it is broken', hint: 'Mend it.' } });
    const vm: TerminaVm = {
      ...{ name: request.name, owner: request.owner ?? OWNER, machine: `t-${request.name}`, state: 'running' },
      ...{ type: 'termina', profile: request.profile ?? 'full', image: 'i', cid: 32, pid: 4711 },
      ...{ ipv4: '100.115.92.26', memoryMib: 1024, cpus: request.cpus ?? 1, startedAt: '2026-01-01T00:00:00Z' },
    };
    this.vms.set(request.name, vm);
    return vm;
  }

  async stopVm(name: string, options?: object): Promise<void> {
    this.asked.push({ stop: name, ...options });
    this.vms.delete(name);
  }

  async stopAllVms(): Promise<void> {
    this.vms.clear();
  }

  async listVms({ owner }: { owner?: string } = {}): Promise<readonly TerminaVm[]> {
    return [...this.vms.values()].filter((vm) => owner === undefined || vm.owner === owner);
  }

  async getVm(name: string, { owner }: { owner?: string } = {}): Promise<TerminaVm> {
    const vm = this.vms.get(name);
    if (vm === undefined || (owner !== undefined && vm.owner !== owner))
      throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: name } });
    return vm;
  }

  async suspendVm(name: string): Promise<void> {
    this.asked.push({ suspend: name });
  }

  async syncVmTimes() {
    return { asked: 2, failures: ['foo: it hangs'] };
  }

  async resumeVm(): Promise<void> {
    throw errors.CROSTINI_ERR_VM_STATE({ details: { vm: 'x', state: 'running', verb: 'resumed' } });
  }
}

function fakeDisks() {
  const job: DiskJob = {
    ...{ uuid: 'job-1', kind: 'export', owner: OWNER, vm: 'termina', state: 'running', percent: 0, error: undefined },
  };
  return {
    create: vi.fn(async () => ({ status: 'created', path: DISK, bytes: 4096 }) as const),
    destroy: vi.fn(async () => {}),
    list: vi.fn(async () => [
      {
        ...{ vm: 'termina', owner: OWNER, type: 'termina', path: DISK, bytes: 8192, allocatedBytes: 4096 },
        ...{ minBytes: 4096, userChosenSize: true },
      } as const,
    ]),
    resize: vi.fn(async () => ({ ...job, kind: 'resize', state: 'done', percent: 100 }) as const),
    export: vi.fn(async () => job),
    import: vi.fn(async () => {
      throw errors.CROSTINI_ERR_DISK_EXISTS({ details: { vm: 'termina' } });
    }),
    jobs: vi.fn(async () => [job]),
    status: vi.fn(async () => ({ ...job, state: 'done', percent: 100 }) as const),
    wait: vi.fn(async () => job),
    cancel: vi.fn(async () => {}),
    busy: vi.fn(async () => false),
    ensureStateful: vi.fn(),
  } satisfies { [M in keyof Disks]: unknown };
}

describe.runIf(hasDbusDaemon())('concierge on a bus', () => {
  let daemon: PrivateBus;
  let service: DbusService;
  let client: Bus;
  let concierge: FakeConcierge;
  let disks: ReturnType<typeof fakeDisks>;
  let listeners: Map<string, (data: never) => unknown>;
  const log = { info: vi.fn(), warn: vi.fn() };
  const removeLogs = vi.fn();

  beforeEach(async () => {
    daemon = await startPrivateBus();
    concierge = new FakeConcierge();
    disks = fakeDisks();
    listeners = new Map();
    service = await start(daemon.address);
    client = await connectBus({ bus: daemon.address });
  });
  afterEach(async () => {
    await service[Symbol.asyncDispose]();
    await client.close();
    await daemon[Symbol.asyncDispose]();
  });

  const start = (mode: string): Promise<DbusService> =>
    startDbus({
      ...{ mode, log, retryMs: 20, disks: disks as unknown as Disks },
      concierge: concierge as unknown as Concierge,
      events: {
        on(topic, listener) {
          listeners.set(topic, listener as never);
          return { [Symbol.dispose]: () => void listeners.delete(topic) };
        },
      },
      logs: async (name) => `console of ${name}`,
      removeLogs,
      balloon: async () => ({
        actualMib: 768,
        guest: { at: 0, totalMib: 700, availableMib: 100, freeMib: 50, swappedIn: 0, majorFaults: 0 },
      }),
    });

  const happens = <E extends keyof EventMap>(topic: E, data: EventMap[E]): unknown =>
    listeners.get(topic)?.(data as never);

  async function call(member: MethodName, request: object = {}, fds: Value[] = []): Promise<Record<string, unknown>> {
    const row: MethodRow = METHODS[member];
    const types = [...(row.request === undefined ? [] : ['ay']), ...(row.fds === undefined ? [] : [row.fds[1]])];
    const encoded =
      row.request === undefined ? [] : [conciergeWire.encode(`vm_tools.concierge.${row.request}`, request as never)];
    const { values } = await client.call({
      ...{ service: SERVICE, path: OBJECT_PATH, interface: SERVICE, member, signature: types.join('') },
      args: [...encoded, ...fds],
    });
    if (row.response === undefined) return {};
    return conciergeWire.decode(`vm_tools.concierge.${row.response}`, values[0] as Uint8Array) as never;
  }

  const startRequest = { name: 'termina', owner_id: OWNER, vm_type: 'TERMINA', disks: [{ path: DISK }] };

  test.runIf(hasBusctl)('busctl lists all of it', async () => {
    const { stdout } = await run('busctl', [`--address=${daemon.address}`, 'introspect', SERVICE, OBJECT_PATH]);
    for (const name of Object.keys(METHODS)) expect(stdout).toMatch(new RegExp(`\\.${name}\\s+method`));
    for (const name of Object.keys(SIGNALS)) expect(stdout).toMatch(new RegExp(`\\.${name}\\s+signal\\s+ay`));
    expect(stdout).toMatch(/\.StartVm\s+method\s+ayah\s+ay/);
    expect(stdout).toMatch(/\.StopAllVms\s+method\s+-\s+-/);
    expect(Object.keys(METHODS)).toHaveLength(46);
    expect(service.check()).toEqual({ status: 'ok', found: `${SERVICE} at ${daemon.address}` });
  });

  test('a VM is started, looked at and stopped', async () => {
    const answer = await call('StartVm', { ...startRequest, cpus: 1, timeout: 90, kernel_params: ['quiet'] }, [[]]);
    expect(answer).toMatchObject({ success: true, failure_reason: '', status: 'VM_STATUS_RUNNING' });
    expect(answer.vm_info).toMatchObject({
      ...{ ipv4_address: 442266468, pid: 4711, cid: 32n, vm_type: 'TERMINA', status: 'VM_STATUS_RUNNING' },
      allocated_memory: 1_073_741_824n,
    });
    expect(concierge.asked).toEqual([
      {
        ...{ name: 'termina', owner: OWNER, profile: 'full', cpus: 1, timeoutMs: 90_000, kernelParams: ['quiet'] },
      },
    ]);
    expect(await call('GetVmInfo', startRequest)).toMatchObject({ success: true, vm_info: { cid: 32n } });
    expect(await call('GetVmInfo', { ...startRequest, owner_id: 'ff' })).toMatchObject({ success: false });
    const list = await call('ListVms', { owner_id: OWNER.toUpperCase() });
    expect(list).toMatchObject({ success: true, vms: [{ name: 'termina', owner_id: OWNER }] });
    expect(await call('GetVmLogs', startRequest)).toEqual({ log: 'console of termina' });
    expect(await call('SuspendVm', startRequest)).toMatchObject({ success: true });
    expect(await call('ResumeVm', startRequest)).toMatchObject({ success: false });
    const times = { requests: 2, failures: 1, failure_reason: ['foo: it hangs'] };
    expect(await call('SyncVmTimes')).toEqual(times);
    expect(await call('StopVm', startRequest)).toMatchObject({ success: true });
    expect(concierge.asked.at(-1)).toEqual({ stop: 'termina', owner: OWNER, reason: 'STOP_VM_REQUESTED' });
    expect(await call('StopVm', startRequest)).toMatchObject({ success: true });
    await call('StartVm', startRequest, [[]]);
    await call('StopVmWithoutOwnerId', { name: 'termina' });
    expect(await call('ListVms', { owner_id: OWNER })).toMatchObject({ vms: [] });
    await call('StopAllVms');
  });

  test('after StopAllVms none is started, on any connection', async () => {
    await call('StartVm', startRequest, [[]]);
    await call('StopAllVms');
    const refused = () => call('StartVm', startRequest, [[]]).catch((e: unknown) => e);
    expect(isRemoteError(await refused(), DBUS_ERRORS.failed)).toBe(true);
    expect(String(await refused())).toContain('Shutdown in progress');
    expect(await call('ListVms', { owner_id: OWNER })).toMatchObject({ success: true, vms: [] });
    await call('StopAllVms');
    // Concierge that is started anew starts them.
    await service[Symbol.asyncDispose]();
    service = await start(daemon.address);
    expect(await call('StartVm', startRequest, [[]])).toMatchObject({ success: true });
  });

  test('what is asked is looked at in the order of concierge', async () => {
    const tooMany = availableParallelism() + 1;
    const refusals: [object, string][] = [
      [{ owner_id: 'not hex', name: '', cpus: tooMany }, 'Empty or malformed owner ID'],
      [{ owner_id: '' }, 'Empty or malformed owner ID'],
      [{ name: '', cpus: tooMany }, 'Empty VM name'],
      [{ name: 'ü'.repeat(31), cpus: tooMany }, 'VM name is too long'],
      [{ cpus: tooMany, fds: [] }, 'Invalid CPU count'],
      [{ disks: [] }, 'Missing required stateful disk'],
      [{ disks: Array(11).fill({ path: DISK }) }, 'Rejecting request with too many disks'],
      [{ disks: [{ path: 'shadow' }] }, 'is no path of a disk'],
      [{ disks: [{ path: '/a.qcow2', image_type: 'DISK_IMAGE_QCOW2' }] }, 'only raw ones'],
      [{ vm_type: 'BAGUETTE', start_termina: true }, 'Baguette'],
      [{ vm_type: 'BOREALIS' }, 'Borealis'],
      [{ vm_type: 'UNKNOWN', name: 'bru' }, 'Bruschetta'],
      [{ vm_type: 99 }, 'type 99'],
      [{ writable_rootfs: true }, 'can only be read'],
      [{ kernel_params: ['a\nb'] }, 'kernel parameters'],
      [{ name: 'broken' }, 'it is broken'],
    ];
    for (const [change, reason] of refusals) {
      const answer = await call('StartVm', { ...startRequest, ...change }, [[]]);
      expect(answer).toMatchObject({ success: false, status: 'VM_STATUS_FAILURE' });
      expect(answer.failure_reason).toContain(reason);
    }
    disks.busy.mockResolvedValue(true);
    expect(await call('StartVm', { ...startRequest, disks: [] }, [[]])).toMatchObject({
      ...{ success: false, status: 'VM_STATUS_DISK_OP_IN_PROGRESS' },
    });
    // One that runs is told of, whatever else is wrong.
    await concierge.startVm({ name: 'termina', owner: OWNER });
    const again = await call('StartVm', { ...startRequest, disks: [] }, [[]]);
    expect(again).toMatchObject({ success: true, vm_info: { cid: 32n } });
  });

  test('descriptors have to be those that are named', async () => {
    const kernel = memfdCreate('kernel', { size: 16 });
    const before = openFds();
    const wrong = await call('StartVm', { ...startRequest, fds: ['KERNEL', 'STORAGE'] }, [[kernel]]);
    expect(wrong.failure_reason).toBe('2 descriptors are named, and 1 came');
    const named = await call('StartVm', { ...startRequest, fds: ['KERNEL'] }, [[kernel]]);
    expect(named.failure_reason).toContain('A descriptor of KERNEL has to be that of a file');
    await vi.waitFor(() => expect(openFds()).toBe(before));
    closeSync(kernel);
  });

  test('a kernel and its file systems can be given by descriptor, once each', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'boot-'));
    const kinds = ['KERNEL', 'INITRD', 'ROOTFS'] as const;
    const paths = kinds.map((kind) => join(folder, kind));
    for (const path of paths) writeFileSync(path, 'data');
    const fds = paths.map((path) => openSync(path, 'r'));
    const [kernel] = fds as [number, ...number[]];
    expect(await call('StartVm', { ...startRequest, fds: [...kinds] }, [fds])).toMatchObject({ success: true });
    expect(concierge.asked).toMatchObject([{ files: { kernel: paths[0], initrd: paths[1], rootfs: paths[2] } }]);
    concierge.vms.clear();
    const twice = await call('StartVm', { ...startRequest, fds: ['KERNEL', 'KERNEL'] }, [[kernel, kernel]]);
    expect(twice.failure_reason).toBe('Two descriptors of KERNEL came');
    const firmware = await call('StartVm', { ...startRequest, fds: ['BIOS'] }, [[kernel]]);
    expect(firmware.failure_reason).toContain('there is no firmware');
    for (const fd of fds) closeSync(fd);
    rmSync(folder, { recursive: true });
  });

  test('more disks are files of the caller, by descriptor or by name', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'storage-'));
    const file = join(folder, 'data.img');
    writeFileSync(file, 'data');
    const [reading, both, writing] = ['r', 'r+', 'w'].map((flags) => openSync(file, flags)) as [number, number, number];
    const request = { ...startRequest, disks: [{ path: DISK, writable: true }, { path: '/other.img' }] };
    const storage = { ...request, fds: ['STORAGE', 'STORAGE'] };
    expect(await call('StartVm', storage, [[reading, both]])).toMatchObject({ success: true });
    expect(concierge.asked).toMatchObject([
      {
        disks: [
          { path: '/other.img', readOnly: true },
          { path: file, readOnly: true },
          { path: file, readOnly: false },
        ],
      },
    ]);
    concierge.vms.clear();
    const nameless = memfdCreate('nameless', { size: 16 });
    rmSync(folder, { recursive: true });
    for (const [fds, reason] of [
      [[nameless, both], 'with a name'],
      [[reading, both], 'with a name'],
      [[writing, writing], 'with a name'],
    ] as const)
      expect((await call('StartVm', storage, [[...fds]])).failure_reason).toContain(reason);
    for (const fd of [reading, both, writing, nameless]) closeSync(fd);
  });

  test('disks are made, looked at, resized, brought away and removed', async () => {
    const disk = { cryptohome_id: OWNER, vm_name: 'termina' };
    expect(await call('CreateDiskImage', { ...disk, disk_size: 4096n, image_type: 'DISK_IMAGE_AUTO' }, [[]])).toEqual({
      ...{ status: 'DISK_STATUS_CREATED', disk_path: DISK, failure_reason: '', command_uuid: '' },
    });
    expect(disks.create).toHaveBeenCalledWith({ owner: OWNER, vm: 'termina', bytes: 4096, allocation: 'auto' });
    for (const change of [
      { image_type: 'DISK_IMAGE_QCOW2' },
      { storage_location: 'STORAGE_CRYPTOHOME_PLUGINVM' },
      { copy_baguette_image: true },
      { disk_size: 2n ** 63n },
      { vm_name: '' },
      { cryptohome_id: '../..' },
      { allocation_type: 7 },
    ])
      expect((await call('CreateDiskImage', { ...disk, ...change }, [[]])).status).toBe('DISK_STATUS_FAILED');
    expect(disks.create).toHaveBeenCalledOnce();
    expect(await call('ListVmDisks', disk)).toMatchObject({
      ...{ success: true, total_size: 8192n },
      images: [{ name: 'termina', size: 8192n, min_size: 4096n, path: DISK, vm_type: 'TERMINA', has_vm_type: true }],
    });
    expect(await call('ResizeDiskImage', { ...disk, disk_size: 8192n })).toMatchObject({
      ...{ status: 'DISK_STATUS_RESIZED', command_uuid: 'job-1' },
    });
    expect(await call('DestroyDiskImage', disk)).toMatchObject({ status: 'DISK_STATUS_DESTROYED' });
    expect(concierge.asked).toEqual([{ stop: 'termina', owner: OWNER, reason: 'DESTROY_DISK_IMAGE_REQUESTED' }]);
    expect(removeLogs.mock.calls).toEqual([['termina', OWNER]]);
    disks.destroy.mockRejectedValue(errors.CROSTINI_ERR_DISK_NOT_FOUND({ details: { vm: 'termina' } }));
    expect(await call('DestroyDiskImage', disk)).toMatchObject({ status: 'DISK_STATUS_DOES_NOT_EXIST' });

    const [out, digest] = [memfdCreate('out', { size: 16 }), memfdCreate('digest', { size: 16 })];
    let exported: unknown;
    disks.export.mockImplementation((async (request: { to: { fd: number } }) => {
      exported = { ...request, to: fstatSync(request.to.fd).ino };
      return disks.wait();
    }) as never);
    const request = { ...disk, generate_sha256_digest: true };
    expect(await call('ExportDiskImage', request, [[out, digest]])).toMatchObject({
      ...{ status: 'DISK_STATUS_IN_PROGRESS', command_uuid: 'job-1' },
    });
    expect(exported).toMatchObject({ to: fstatSync(out).ino, force: false, digest: { fd: expect.any(Number) } });
    expect((await call('ExportDiskImage', request, [[out]])).failure_reason).toContain('for the digest');
    expect((await call('ExportDiskImage', request, [[]])).status).toBe('DISK_STATUS_FAILED');
    expect(await call('ImportDiskImage', disk, [out])).toMatchObject({ status: 'DISK_STATUS_EXISTS' });
    closeSync(out);
    closeSync(digest);

    expect(await call('DiskImageStatus', { command_uuid: 'job-1' })).toMatchObject({
      ...{ status: 'DISK_STATUS_CREATED', progress: 100, command_uuid: 'job-1' },
    });
    expect(await call('CancelDiskImageOperation', { command_uuid: 'job-1' })).toMatchObject({ success: true });
    disks.cancel.mockRejectedValue(errors.CROSTINI_ERR_DISK_JOB_NOT_FOUND({ details: { uuid: 'x' } }));
    expect(await call('CancelDiskImageOperation', { command_uuid: 'x' })).toMatchObject({ success: false });
  });

  test('vmc of ChromeOS finds what it needs, in its order', async () => {
    const ours = { cryptohome_id: OWNER, vm_name: 'termina' };
    const others = await call('ListVmDisks', { ...ours, storage_location: 'STORAGE_CRYPTOHOME_PLUGINVM' });
    expect(others).toMatchObject({ success: true, images: [] });
    const image = { ...ours, image_type: 'DISK_IMAGE_AUTO', storage_location: 'STORAGE_CRYPTOHOME_ROOT' };
    const { disk_path: path } = await call('CreateDiskImage', image, [[]]);
    const all = await call('ListVmDisks', { ...ours, all_locations: true });
    expect(all).toMatchObject({ images: [{ name: 'termina', vm_type: 'TERMINA' }] });
    const wishes = { enable_gpu: false, enable_big_gl: false, vtpm_proxy: false, enable_audio_capture: false };
    const request = {
      ...{ name: 'termina', owner_id: OWNER, vm_username: '', vm_type: 'TERMINA', start_termina: false, timeout: 0 },
      ...{ ...wishes, kernel_params: ['quiet'], disks: [{ path, writable: true, do_mount: false }] },
      ...{ vm: { dlc_id: 'termina-dlc' }, oem_strings: [], fds: [] },
    };
    expect(await call('StartVm', request, [[]])).toMatchObject({ success: true, status: 'VM_STATUS_RUNNING' });
    expect(await call('GetVmInfo', request)).toMatchObject({ success: true });
    expect(await call('GetVmLogs', request)).toMatchObject({ log: expect.any(String) });
    expect(await call('StopVm', request)).toMatchObject({ success: true });
  });

  test('clients of 2021 send descriptors one by one, or none', async () => {
    const raw = async (member: MethodName, request: object, fds: readonly number[]) => {
      const { request: asked, response } = METHODS[member] as Required<MethodRow>;
      const bytes = conciergeWire.encode(`vm_tools.concierge.${asked}`, request as never);
      const call = { service: SERVICE, path: OBJECT_PATH, interface: SERVICE, member };
      const { values } = await client.call({
        ...call,
        signature: `ay${'h'.repeat(fds.length)}`,
        args: [bytes, ...fds],
      });
      return conciergeWire.decode(`vm_tools.concierge.${response}`, values[0] as Uint8Array);
    };
    const disk = { cryptohome_id: OWNER, vm_name: 'termina' };
    expect(await raw('CreateDiskImage', disk, [])).toMatchObject({ status: 'DISK_STATUS_CREATED' });
    expect(await raw('StartVm', startRequest, [])).toMatchObject({ success: true });
    const fds = [memfdCreate('out', { size: 16 }), memfdCreate('digest', { size: 16 })];
    const exported = await raw('ExportDiskImage', { ...disk, generate_sha256_digest: true }, fds);
    expect(exported).toMatchObject({ status: 'DISK_STATUS_IN_PROGRESS' });
    expect(disks.export).toHaveBeenCalledWith(
      expect.objectContaining({ to: { fd: expect.any(Number) }, digest: { fd: expect.any(Number) } }),
    );
    await expect(raw('ListVms', {}, [fds[0] as number])).rejects.toThrow('it takes "ay", not "ayh"');
    for (const fd of fds) closeSync(fd);
  });

  test('the memory that a VM has given back is told in bytes', async () => {
    await concierge.startVm({ name: 'termina', owner: OWNER });
    const asked = { name: 'termina', owner_id: OWNER };
    expect(await call('GetBalloonInfo', asked)).toMatchObject({
      ...{ success: true, balloon_info: { balloon_size: 256n * 2n ** 20n, available_memory: 100n * 2n ** 20n } },
    });
    expect(await call('GetBalloonInfo', { ...asked, name: 'other' })).toMatchObject({ success: false });
  });

  test('what makes no sense here says so', async () => {
    const members = Object.keys(UNSUPPORTED) as (keyof typeof UNSUPPORTED)[];
    const memory = memfdCreate('memory', { size: 16 });
    for (const member of members) {
      const fds = (METHODS[member] as MethodRow).fds === undefined ? [] : [memory];
      const error: unknown = await call(member, {}, fds).catch((e: unknown) => e);
      expect(isRemoteError(error, DBUS_ERRORS.notSupported)).toBe(true);
      expect(String(error)).toContain(UNSUPPORTED[member]);
    }
    closeSync(memory);
    expect(await call('GetVmLaunchAllowed')).toMatchObject({ allowed: true });
    expect(await call('SetCrostiniVmType', { vm_type: 'TERMINA' })).toMatchObject({ success: true });
    expect(await call('SetCrostiniVmType', { vm_type: 'BAGUETTE' })).toMatchObject({ success: false });
    expect((await call('GetDnsSettings')).nameservers).toEqual(dnsSettings().nameservers);
  });

  test('each method of ChromeOS answers, or says why not', async () => {
    const answers = { ok: 0, unsupported: 0 };
    for (const member of Object.keys(METHODS) as MethodName[]) {
      const { fds } = METHODS[member] as MethodRow;
      const memory = fds?.[1] === 'h' ? [memfdCreate('memory', { size: 16 })] : [];
      const error: unknown = await call(member, {}, fds?.[1] === 'ah' ? [[]] : memory).then(
        () => undefined,
        (e: unknown) => e,
      );
      for (const fd of memory) closeSync(fd);
      if (error === undefined) answers.ok++;
      else if (isRemoteError(error, DBUS_ERRORS.notSupported)) answers.unsupported++;
      // It has no field for the reason.
      else expect([member, String(error)]).toEqual(['GetVmLogs', expect.stringContaining('malformed owner')]);
    }
    const unsupported = Object.keys(UNSUPPORTED).length;
    expect(answers).toEqual({ ok: 46 - unsupported - 1, unsupported });
  });

  test('requests that are none are refused, and the service goes on', async () => {
    const raw = (args: Value[]) =>
      client.call({
        ...{ service: SERVICE, path: OBJECT_PATH, interface: SERVICE, member: 'ListVms', signature: 'ay', args },
      });
    const random = Array.from({ length: 50 }, (_, i) => Buffer.from(Array.from({ length: i }, () => (i * 97) % 256)));
    for (const bytes of [Buffer.from([0xff]), Buffer.alloc(1_000_000, 0x0a), ...random])
      await raw([bytes]).catch((e: unknown) => expect(isRemoteError(e, DBUS_ERRORS.invalidArgs)).toBe(true));
    await expect(raw([Buffer.from([0x0a, 0x7f])])).rejects.toThrow('Unable to parse ListVmsRequest');
    expect(await call('ListVms', { owner_id: OWNER })).toMatchObject({ success: true });
  });

  test('signals tell what happens, in order', async () => {
    const seen: [string, Record<string, unknown>][] = [];
    await client.subscribe({ sender: SERVICE, interface: SERVICE }, ({ member, values }) => {
      const message = `vm_tools.concierge.${SIGNALS[member as SignalName]}` as const;
      seen.push([member, conciergeWire.decode(message, values[0] as Uint8Array) as never]);
    });
    await concierge.startVm({ name: 'termina', owner: OWNER });
    const vm = { vm: 'termina', owner: OWNER, cid: 32 };
    happens('termina:starting', vm);
    happens('termina:started', vm);
    happens('disk:progress', { uuid: 'job-1', kind: 'export', owner: OWNER, vm: 'termina', percent: 40 });
    happens('disk:done', { uuid: 'job-1', kind: 'export', owner: OWNER, vm: 'termina', state: 'done', why: '' });
    happens('termina:stopping', vm);
    happens('termina:stopped', { ...vm, reason: 'STOP_VM_REQUESTED' });
    await vi.waitFor(() => expect(seen).toHaveLength(6));
    expect(seen).toMatchObject([
      ['VmStartingUpSignal', { name: 'termina', owner_id: OWNER, cid: 32n, vm_type: 'TERMINA' }],
      ['VmStartedSignal', { name: 'termina', vm_info: { ipv4_address: 442266468 }, status: 'VM_STATUS_RUNNING' }],
      ['DiskImageProgress', { command_uuid: 'job-1', status: 'DISK_STATUS_IN_PROGRESS', progress: 40 }],
      ['DiskImageProgress', { command_uuid: 'job-1', status: 'DISK_STATUS_CREATED', progress: 100 }],
      ['VmStoppingSignal', { name: 'termina', cid: 32n }],
      ['VmStoppedSignal', { name: 'termina', reason: 'STOP_VM_REQUESTED' }],
    ]);
  });

  test.runIf(hasPython())(
    'a client in Python, over libdbus and with messages compiled by protoc',
    { timeout: 60_000 },
    async () => {
      const vm = { vm: 'termina', owner: OWNER, cid: 32 };
      const { startVm, stopVm } = FakeConcierge.prototype;
      vi.spyOn(concierge, 'startVm').mockImplementation(async function (this: FakeConcierge, request) {
        happens('termina:starting', vm);
        const started = await startVm.call(this, request);
        happens('termina:started', vm);
        return started;
      });
      vi.spyOn(concierge, 'stopVm').mockImplementation(async function (this: FakeConcierge, name, options) {
        happens('termina:stopping', vm);
        await stopVm.call(this, name, options);
        happens('termina:stopped', { ...vm, reason: 'STOP_VM_REQUESTED' });
      });
      disks.export.mockImplementation((async ({ to }: { to: { fd: number } }) => {
        writeSync(to.fd, 'all that is on the disk');
        return disks.wait();
      }) as never);
      const folder = mkdtempSync(join(tmpdir(), 'python-client-'));
      try {
        writeProtos(folder);
        await run('protoc', [`--python_out=${folder}`, `--proto_path=${folder}`, 'arc.proto', 'concierge.proto']);
        writeFileSync(join(folder, 'client.py'), PYTHON_CLIENT);
        const { stdout } = await run(PYTHON, [join(folder, 'client.py'), daemon.address, OWNER, DISK]);
        expect(JSON.parse(stdout)).toEqual({
          refused: 'A descriptor of KERNEL has to be that of a file, or a block device, with a name',
          started: [true, 'VM_STATUS_RUNNING', 32, '100.115.92.26'],
          listed: ['termina'],
          resized: 'DISK_STATUS_RESIZED',
          exported: ['DISK_STATUS_IN_PROGRESS', 'all that is on the disk'],
          unsupported: DBUS_ERRORS.notSupported,
          stopped: true,
          signals: ['VmStartingUpSignal', 'VmStartedSignal', 'VmStoppingSignal', 'VmStoppedSignal'],
          names: ['termina'],
        });
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );

  test('a second service waits for the name', async () => {
    const second = await start(daemon.address);
    expect(second.status()).toMatchObject({ state: 'queued' });
    expect(second.check()).toMatchObject({ status: 'warn', remedy: expect.stringContaining('busctl status') });
    await service[Symbol.asyncDispose]();
    await vi.waitFor(() => expect(second.status()).toMatchObject({ state: 'served' }));
    await second[Symbol.asyncDispose]();
  });

  test('when the bus goes and comes back, so does concierge', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'crostini-dbus-'));
    const socket = join(folder, 'bus');
    const waiting = await start(`unix:path=${socket}`);
    expect(waiting.check()).toMatchObject({ status: 'warn', found: expect.stringContaining('ENOENT') });
    for (let i = 0; i < 3; i++) {
      await using bus = await startPrivateBus({ socket });
      await vi.waitFor(() => expect(waiting.status()).toMatchObject({ state: 'served' }));
      const other = await connectBus({ bus: bus.address });
      expect(await other.call({ service: SERVICE, path: OBJECT_PATH, ...PING })).toMatchObject({ values: [] });
      await other.close();
      await bus.kill();
      await vi.waitFor(() => expect(waiting.status()).toMatchObject({ state: 'waiting' }));
      rmSync(socket, { force: true });
    }
    await waiting[Symbol.asyncDispose]();
    expect(waiting.status()).toMatchObject({ state: 'off' });
    rmSync(folder, { recursive: true });
  });

  test('without a bus nothing is the matter', async () => {
    const { DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR } = process.env;
    process.env.DBUS_SESSION_BUS_ADDRESS = '';
    process.env.XDG_RUNTIME_DIR = '/nowhere';
    try {
      for (const mode of ['off', 'auto']) {
        const off = await start(mode);
        expect(off.check()).toMatchObject({ status: 'ok' });
        await off[Symbol.asyncDispose]();
      }
      const session = await start('session');
      expect(session.check()).toMatchObject({
        status: 'warn',
        found: expect.stringContaining('this session has none'),
      });
      await session[Symbol.asyncDispose]();
    } finally {
      if (DBUS_SESSION_BUS_ADDRESS === undefined) delete process.env.DBUS_SESSION_BUS_ADDRESS;
      else process.env.DBUS_SESSION_BUS_ADDRESS = DBUS_SESSION_BUS_ADDRESS;
      if (XDG_RUNTIME_DIR === undefined) delete process.env.XDG_RUNTIME_DIR;
      else process.env.XDG_RUNTIME_DIR = XDG_RUNTIME_DIR;
    }
  });
});

const PYTHON_CLIENT = `
import json, os, socket, struct, sys
import dbus, dbus.bus, dbus.mainloop.glib
from gi.repository import GLib
import concierge_pb2 as pb

address, owner, disk = sys.argv[1:]
NAME, PATH = 'org.chromium.VmConcierge', '/org/chromium/VmConcierge'
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(address)
concierge = dbus.Interface(bus.get_object(NAME, PATH), NAME)

signals, names = [], set()
def on_signal(payload, member):
    message = getattr(pb, member)()
    message.ParseFromString(bytes(payload))
    signals.append(member)
    names.add(message.name)
bus.add_signal_receiver(on_signal, dbus_interface=NAME, bus_name=NAME, member_keyword='member', byte_arrays=True)

def call(member, request, response, *more):
    answer = concierge.get_dbus_method(member)(dbus.ByteArray(request.SerializeToString()), *more, byte_arrays=True)
    message = response()
    message.ParseFromString(bytes(answer))
    return message

def fds(*files):
    return dbus.Array([dbus.types.UnixFd(one) for one in files], signature='h')

status = pb.DiskImageStatus.Name
result = {}
start = pb.StartVmRequest(name='termina', owner_id=owner, start_termina=True, disks=[pb.DiskImage(path=disk, writable=True)])
kernel = os.memfd_create('kernel')
other = pb.StartVmRequest()
other.CopyFrom(start)
other.fds.append(pb.StartVmRequest.KERNEL)
result['refused'] = call('StartVm', other, pb.StartVmResponse, fds(kernel)).failure_reason
answer = call('StartVm', start, pb.StartVmResponse, fds())
info = answer.vm_info
ip = socket.inet_ntoa(struct.pack('<I', info.ipv4_address))
result['started'] = [answer.success, pb.VmStatus.Name(answer.status), info.cid, ip]
listed = call('ListVms', pb.ListVmsRequest(owner_id=owner), pb.ListVmsResponse)
result['listed'] = [vm.name for vm in listed.vms]
resize = pb.ResizeDiskImageRequest(cryptohome_id=owner, vm_name='termina', disk_size=1 << 33)
result['resized'] = status(call('ResizeDiskImage', resize, pb.ResizeDiskImageResponse).status)
out = os.memfd_create('out')
export = pb.ExportDiskImageRequest(cryptohome_id=owner, vm_name='termina')
exported = call('ExportDiskImage', export, pb.ExportDiskImageResponse, fds(out))
result['exported'] = [status(exported.status), os.pread(out, 100, 0).decode()]
try:
    call('StartArcVm', pb.StartArcVmRequest(name='arcvm', owner_id=owner), pb.StartVmResponse)
except dbus.DBusException as e:
    result['unsupported'] = e.get_dbus_name()
stop = pb.StopVmRequest(name='termina', owner_id=owner)
result['stopped'] = call('StopVm', stop, pb.SuccessFailureResponse).success
loop = GLib.MainLoop()
def enough():
    if len(signals) >= 4: loop.quit()
    return True
GLib.timeout_add(20, enough)
GLib.timeout_add_seconds(10, loop.quit)
loop.run()
result['signals'], result['names'] = signals, sorted(names)
print(json.dumps(result))
`;

test('addresses are numbers as they lie in memory', () => {
  expect(inAddr('100.115.92.26')).toBe(442266468);
  expect(['', '1.2.3', '1.2.3.256', '1.2.3.x'].map(inAddr)).toEqual([0, 0, 0, 0]);
});

test('signals that nobody sends are known, with the reason', () => {
  expect(Object.keys(SIGNALS)).toHaveLength(9);
  for (const [name, why] of Object.entries(NEVER_SENT)) {
    expect(Object.keys(SIGNALS)).toContain(name);
    expect(why).toMatch(/^only /);
  }
});

test('other name servers of the host are told, and the same ones are not', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'resolv-'));
  const file = join(folder, 'resolv.conf');
  const seen: unknown[] = [];
  writeFileSync(file, 'nameserver 1.2.3.4\n');
  using _watch = watchDns((settings) => seen.push(settings), { file, lookMs: 20 });
  await delay(60);
  writeFileSync(file, '# the same\nnameserver 1.2.3.4\n');
  await delay(100);
  expect(seen).toEqual([]);
  writeFileSync(file, 'nameserver 5.6.7.8\n');
  await vi.waitFor(() => expect(seen).toEqual([{ nameservers: ['5.6.7.8'], search_domains: [] }]));
  rmSync(folder, { recursive: true });
});

test('name servers are those of the host', () => {
  const folder = mkdtempSync(join(tmpdir(), 'resolv-'));
  const file = join(folder, 'resolv.conf');
  writeFileSync(
    file,
    '# mine\nsearch a.test\nnameserver 1.2.3.4\nnameserver\n\tnameserver ::1\nsearch b.test c.test\n',
  );
  expect(dnsSettings(file)).toEqual({ nameservers: ['1.2.3.4', '::1'], search_domains: ['b.test', 'c.test'] });
  rmSync(folder, { recursive: true });
  expect(dnsSettings(file)).toEqual({ nameservers: [], search_domains: [] });
});
