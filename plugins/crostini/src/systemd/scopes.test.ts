import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventMap } from '@runtime/sdk';
import { type Bus, connectBus, DBUS_ERRORS, DBusError, type Variant } from '@runtime/sdk/dbus';
import { hasDbusDaemon, type PrivateBus, startPrivateBus } from '@runtime/sdk/testing';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openScopes, type Scopes } from './scopes.ts';
import { escapeUnit, scopeName } from './unit-names.ts';

interface FakeUnit {
  readonly properties: Readonly<Record<string, unknown>>;
  readonly pids: number[];
  /** Calls until it is active. */
  starting: number;
}

/** Manager1 of systemd, as far as scopes go; errors are those of src/core/dbus-manager.c and dbus-unit.c. */
class FakeSystemd {
  readonly units = new Map<string, FakeUnit>();
  readonly calls: string[] = [];
  starting = 0;

  async serve(bus: Bus): Promise<void> {
    const StartTransientUnit = { in: args('s', 's', 'a(sv)', 'a(sa(sv))'), out: args('o') };
    const AttachProcessesToUnit = { in: args('s', 's', 'au') };
    bus.exportObject('/org/freedesktop/systemd1', {
      'org.freedesktop.systemd1.Manager': {
        spec: { methods: { StartTransientUnit, AttachProcessesToUnit } },
        methods: {
          StartTransientUnit: ([name, mode, properties]) => this.start(name as string, mode as string, properties),
          AttachProcessesToUnit: ([name, , pids]) => this.attach(name as string, pids as number[]),
        },
      },
    });
    await bus.requestName('org.freedesktop.systemd1');
  }

  start(name: string, mode: string, given: unknown): [string] {
    this.calls.push(`start ${name}`);
    expect(mode).toBe('fail');
    if (this.units.has(name))
      throw new DBusError('org.freedesktop.systemd1.UnitExists', `Unit ${name} was already loaded`);
    const pairs = (given as readonly [string, Variant][]).map(([key, { value }]) => [key, value] as const);
    const { PIDs: pids, ...properties } = Object.fromEntries(pairs);
    this.units.set(name, { properties, pids: [...(pids as number[])], starting: this.starting });
    return ['/org/freedesktop/systemd1/job/1'];
  }

  attach(name: string, pids: readonly number[]): [] {
    this.calls.push(`attach ${name}`);
    const unit = this.units.get(name);
    if (unit === undefined) throw new DBusError('org.freedesktop.systemd1.NoSuchUnit', `Unit ${name} not found.`);
    if (unit.properties.Delegate !== true)
      throw new DBusError(DBUS_ERRORS.invalidArgs, 'Process migration not available');
    if (unit.starting-- > 0) throw new DBusError(DBUS_ERRORS.invalidArgs, 'Unit is not active, refusing.');
    unit.pids.push(...pids);
    return [];
  }
}

const args = (...types: string[]) => types.map((type, at) => [`a${at}`, type] as const);

describe.runIf(hasDbusDaemon())('scopes', () => {
  let daemon: PrivateBus;
  let systemd: FakeSystemd;
  let server: Bus;
  let scopes: Scopes;
  let listeners: Map<string, (data: never) => unknown>;
  const log = { debug: vi.fn(), warn: vi.fn() };

  const open = (mode: string): Scopes =>
    openScopes({
      ...{ mode, log, describe: (vm) => `VM ${vm}` },
      events: {
        on(topic, listener) {
          listeners.set(topic, listener as never);
          return { [Symbol.dispose]: () => void listeners.delete(topic) };
        },
      },
    });
  const started = (key: string, pid: number, plugin = 'vmm'): unknown => {
    const data: EventMap['process:started'] = { plugin, key, pid, kind: 'device' };
    return listeners.get('process:started')?.(data as never);
  };

  beforeEach(async () => {
    vi.clearAllMocks();
    listeners = new Map();
    daemon = await startPrivateBus();
    server = await connectBus({ bus: daemon.address });
    systemd = new FakeSystemd();
    await systemd.serve(server);
    scopes = open(daemon.address);
  });
  afterEach(async () => {
    await scopes[Symbol.asyncDispose]();
    await server.close();
    await daemon[Symbol.asyncDispose]();
  });

  test('each VM has one, with all of its processes', async () => {
    systemd.starting = 2;
    started('t-one/rng0', 101);
    started('t-one/net0', 102);
    started('t-one/net0/passt-1', 103);
    started('vm/t-one/qemu', 104);
    started('t-two/rng0', 201);
    await scopes.settled();
    expect([...systemd.units].map(([name, { pids }]) => [name, pids])).toEqual([
      ['runtime-vm-t-one.scope', [101, 102, 103, 104]],
      ['runtime-vm-t-two.scope', [201]],
    ]);
    expect(systemd.units.get('runtime-vm-t-one.scope')?.properties).toEqual({
      ...{ Description: 'VM t-one', Delegate: true, CollectMode: 'inactive-or-failed' },
      Slice: process.getuid?.() === 0 ? 'machine.slice' : 'app.slice',
    });
    expect(log.warn).not.toHaveBeenCalled();
  });

  test('processes of others, and those that are of no VM, stay where they are', async () => {
    started('t-one/rng0', 101, 'other');
    started('kvm-probe', 102);
    started('compile-1', 103);
    await scopes.settled();
    expect(systemd.calls).toEqual([]);
  });

  test('one that is there already takes what comes later', async () => {
    started('t-one/rng0', 101);
    await scopes.settled();
    // Another runtime finds the VM again, and starts a device anew.
    await scopes[Symbol.asyncDispose]();
    expect(listeners.size).toBe(0);
    scopes = open(daemon.address);
    started('t-one/rng0', 105);
    await scopes.settled();
    expect(systemd.units.get('runtime-vm-t-one.scope')?.pids).toEqual([101, 105]);
  });

  test('without systemd VMs run as they did, and it is told once', async () => {
    await server.close();
    started('t-one/rng0', 101);
    started('t-one/net0', 102);
    await scopes.settled();
    expect(log.warn).toHaveBeenCalledOnce();
    await using off = open('off');
    expect(listeners.size).toBe(1);
    await off.settled();
  });

  test('a bus that comes later is connected to', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'scopes-'));
    const socket = join(folder, 'bus');
    await scopes[Symbol.asyncDispose]();
    scopes = open(`unix:path=${socket}`);
    started('t-one/rng0', 101);
    await scopes.settled();
    expect(log.warn).toHaveBeenCalledOnce();
    await server.close();
    await daemon[Symbol.asyncDispose]();
    daemon = await startPrivateBus({ socket });
    server = await connectBus({ bus: daemon.address });
    await systemd.serve(server);
    started('t-one/net0', 102);
    await scopes.settled();
    expect([...systemd.units.values()].map(({ pids }) => pids)).toEqual([[102]]);
    rmSync(folder, { recursive: true });
  });
});

test('names of units have no letters that they cannot have', () => {
  const names = ['plain', 'a-b', 'a.b_c:d', 'ü ber', 'a/b', '~$', '\\'];
  expect(names.map(escapeUnit).join(' ')).toBe(String.raw`plain a-b a.b_c:d \xc3\xbc\x20ber a\x2fb \x7e\x24 \x5c`);
  expect(Buffer.byteLength(scopeName('ü'.repeat(60)))).toBe(255);
  expect(scopeName('t-one')).toBe('runtime-vm-t-one.scope');
});
