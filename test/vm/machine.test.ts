// The life of VMs in real QEMU, with the default guest: states, console, hot-plug, ends of all kinds, and runtimes that go
// and come.

import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime, recordEvents, type TestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { admitStart, beforeStart, type VmDescription, type Vms, vms } from '../../plugins/vmm/src/contract.ts';
import { ensureDefaultGuest } from '../../plugins/vmm/src/guest/default-guest.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { lacking } from './lab.ts';

const why = lacking();
if (why !== undefined) console.log(`test/vm/machine.test.ts is skipped: there is no ${why}`);

/** A guest that has little, boots soon, and ends soon. */
const SMALL: VmDescription = { mem: 192, net: [], vsock: false, rng: false };

let folder = '';
beforeAll(async () => {
  // Short: paths of sockets have 107 bytes.
  folder = mkdtempSync(join(tmpdir(), 'vm-'));
  process.env.XDG_RUNTIME_DIR = folder;
  if (why === undefined) await ensureDefaultGuest();
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function image(name: string, bytes = 2 ** 20): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, bytes);
  return path;
}

/** Waits until the console shows `text`, from `from` on; answers where it ended. */
async function shows(service: Vms, vm: string, text: string | RegExp, from = 0): Promise<number> {
  let seen = '';
  let next = from;
  for (const until = Date.now() + 60_000; Date.now() < until; ) {
    const chunk = await service.readConsole(vm, { from: next, waitMs: 1_000 });
    seen += Buffer.from(chunk.bytes).toString();
    next = chunk.next;
    if (typeof text === 'string' ? seen.includes(text) : text.test(seen)) return next;
    if (chunk.ended) break;
  }
  throw new Error(`the console of ${vm} does not show ${text}: ${seen.slice(-2_000)}`);
}

/** Types a line into the shell of the guest, and waits for what it prints. */
async function types(service: Vms, vm: string, line: string, answer: string | RegExp): Promise<void> {
  const { next } = await service.readConsole(vm);
  await service.writeConsole(vm, Buffer.from(`${line}\r`));
  await shows(service, vm, answer, next);
}

const processesOf = (runtime: TestRuntime): readonly string[] => runtime.inspect().processes.map(({ key }) => key);

describe.skipIf(why !== undefined)('a VM', { timeout: 180_000 }, () => {
  test('starts, pauses, goes on, and ends when it is asked to', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    using events = recordEvents(runtime, 'vm:*');
    const service = runtime.get(vms);
    const info = await service.start({ ...SMALL, name: 'dev', block: [{ path: image('a.img') }] });
    expect(info).toMatchObject({ name: 'dev', state: 'running', memoryMib: 192, cpus: 1 });
    await shows(service, 'dev', 'guest:');
    await types(service, 'dev', 'echo $((6 * 7)) is it', '42 is it');
    await expect(service.start({ ...SMALL, name: 'dev' })).rejects.toThrow('there is a VM called "dev" already');

    await service.pause('dev');
    expect((await service.list()).map(({ state }) => state)).toEqual(['paused']);
    await expect(service.pause('dev')).rejects.toThrow('VM "dev" is paused, and cannot be paused');
    const before = (await service.stats('dev')).machine?.['cpu-ms'] ?? 0;
    await sleep(300);
    expect(((await service.stats('dev')).machine?.['cpu-ms'] ?? 0) - before).toBeLessThan(100);
    await service.resume('dev');
    await types(service, 'dev', 'echo still $((1 + 1))', 'still 2');

    const exit = await service.stop('dev');
    expect(exit.reason).toBe('guest-shutdown');
    const { state, consoleLog, devices, directory } = await service.inspect('dev');
    expect([state, devices]).toEqual(['stopped', []]);
    expect(() => readdirSync(directory)).toThrow('ENOENT');
    expect(consoleLog).toContain('dev');
    expect(runtime.inspect().leases).toEqual([]);
    expect(processesOf(runtime)).toEqual([]);
    expect(events.events.map(({ topic }) => topic)).toEqual([
      ...['vm:created', 'vm:started', 'vm:paused', 'vm:resumed', 'vm:stopped'],
    ]);
    await service.remove('dev');
    expect(await service.list()).toEqual([]);
  });

  test('says how it ended: reset, crash, or stopped by force', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    const service = runtime.get(vms);
    await service.start({ ...SMALL, name: 'reset' });
    await shows(service, 'reset', 'guest:');
    await service.writeConsole('reset', Buffer.from('reboot -f\r'));
    expect((await service.wait('reset'))?.reason).toBe('guest-reset');

    const { pid } = await service.start({ ...SMALL, name: 'crash', block: [{ path: image('b.img') }] });
    process.kill(pid as number, 'SIGKILL');
    expect(await service.wait('crash')).toEqual({ reason: 'crashed', detail: 'QEMU ended with SIGKILL' });
    expect((await service.list()).map(({ name, state }) => [name, state])).toEqual([
      ['reset', 'stopped'],
      ['crash', 'crashed'],
    ]);

    await service.start({ ...SMALL, name: 'force' });
    expect((await service.stop('force', { force: true })).reason).toBe('stopped');
    expect(processesOf(runtime)).toEqual([]);
    expect(runtime.inspect().leases).toEqual([]);
  });

  test('one whose device hangs ends when its guest does', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    const service = runtime.get(vms);
    await service.start({ ...SMALL, name: 'hung', block: [{ path: image('hung.img') }] });
    await shows(service, 'hung', 'guest:');
    const [device] = (await service.inspect('hung')).devices;
    process.kill(device?.pid as number, 'SIGSTOP');
    // As after a panic: the kernel does not ask its devices.
    await service.writeConsole('hung', Buffer.from('echo b > /proc/sysrq-trigger\r'));
    expect((await service.wait('hung'))?.reason).toBe('guest-reset');
    expect(processesOf(runtime)).toEqual([]);
  });

  test('one of the same name starts once nothing of the one that crashed is left', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    const service = runtime.get(vms);
    using events = recordEvents(runtime, 'vm:*');
    const description: VmDescription = { ...SMALL, name: 'twin', block: [{ path: image('twin.img') }] };
    const { pid } = await service.start(description);
    const ended = service.wait('twin');
    process.kill(pid as number, 'SIGKILL');
    while ((await service.list())[0]?.state === 'running') await sleep(1);
    await service.start(description);
    expect((await ended)?.reason).toBe('crashed');
    expect(events.events.map(({ topic }) => topic)).toEqual([
      ...['vm:created', 'vm:started', 'vm:crashed', 'vm:created', 'vm:started'],
    ]);
    await shows(service, 'twin', 'guest:');
    const { directory, devices } = await service.inspect('twin');
    expect(readdirSync(directory)).toContain('qmp.sock');
    expect(devices.map(({ state }) => state)).toEqual(['running']);
    await service.stop('twin', { force: true });
    expect(processesOf(runtime)).toEqual([]);
  });

  test('a disk is plugged into the running guest, and out of it', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    const service = runtime.get(vms);
    await service.start({ ...SMALL, name: 'plug' });
    await shows(service, 'plug', 'guest:');
    const path = image('c.img');
    const id = await service.attach('plug', { kind: 'block', options: { path } });
    expect(id).toBe('block0');
    await types(
      service,
      'plug',
      'until [ -b /dev/vda ]; do sleep 0.1; done; dd if=/dev/urandom of=/dev/vda bs=4k count=8 conv=fsync && echo wri""tten',
      'written',
    );
    expect(
      readFileSync(path)
        .subarray(0, 32_768)
        .some((byte) => byte !== 0),
    ).toBe(true);
    await service.detach('plug', 'block0');
    await types(service, 'plug', 'while [ -b /dev/vda ]; do sleep 0.1; done; echo no"" disk', 'no disk');
    expect(processesOf(runtime)).toEqual(['vm/plug/qemu']);
    await service.attach('plug', { kind: 'block', id: 'again', options: { path } });
    expect((await service.inspect('plug')).devices.map(({ id: one }) => one)).toEqual(['again']);
    await service.stop('plug', { force: true });
    expect(runtime.inspect().leases).toEqual([]);
  });

  test('what fails on the way is undone', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    const service = runtime.get(vms);
    const block = [{ path: image('d.img') }, { path: join(folder, 'absent.img') }];
    await expect(service.start({ ...SMALL, name: 'bad', block })).rejects.toThrow('there is no such file');
    const kernel = image('kernel');
    await expect(service.start({ ...SMALL, name: 'bad', kernel })).rejects.toThrow('no kernel that can be booted');
    const gpu = [{ kind: 'gpu' }];
    await expect(service.start({ ...SMALL, name: 'bad', device: gpu })).rejects.toThrow('of kind "gpu"');
    expect(await service.list()).toEqual([]);
    expect([processesOf(runtime), runtime.inspect().leases]).toEqual([[], []]);
  });

  test('plugins may change a description, and object', async () => {
    const policy = definePlugin({
      name: 'policy',
      version: '1.0.0',
      setup(ctx) {
        ctx.hooks.tap(beforeStart, (description) => ({ ...description, mem: 128 }));
        ctx.hooks.tap(admitStart, ({ name }) => (name === 'evil' ? { deny: 'of its name' } : undefined));
      },
    });
    await using runtime = await createTestRuntime({ plugins: [vmm, policy] });
    const service = runtime.get(vms);
    await expect(service.start({ ...SMALL, name: 'evil' })).rejects.toThrow('VM "evil" may not start: of its name');
    expect(await service.start({ ...SMALL, name: 'good' })).toMatchObject({ memoryMib: 128 });
    await service.stop('good', { force: true });
  });

  test('lives on when the runtime ends, and is found by the next', async () => {
    const stateDirectory = mkdtempSync(join(tmpdir(), 'vm-state-'));
    try {
      const path = image('e.img');
      let pid: number | undefined;
      {
        await using runtime = await createTestRuntime({ plugins: [vmm], stateDirectory });
        const service = runtime.get(vms);
        ({ pid } = await service.start({ ...SMALL, name: 'long', rng: true, block: [{ path }] }));
        await shows(service, 'long', 'guest:');
        const plugged = await service.attach('long', { kind: 'block', options: { path: image('f.img', 4096) } });
        expect(plugged).toBe('block1');
        // Whoever waits does not hold up new code.
        const waiting = [service.wait('long'), service.readConsole('long', { from: 1e6, waitMs: 60_000 })];
        const report = await runtime.reload('vmm', vmm);
        expect(report.outcome).toBe('swapped');
        expect(await Promise.all(waiting)).toMatchObject([undefined, { ended: false }]);
        await types(runtime.get(vms), 'long', 'dd if=/dev/vda of=/dev/null bs=64k && echo re""ad', 'read');
      }
      await using runtime = await createTestRuntime({ plugins: [vmm], stateDirectory });
      using events = recordEvents(runtime, 'vm:device-restarted');
      const service = runtime.get(vms);
      expect(await service.list()).toMatchObject([{ name: 'long', state: 'running', pid }]);
      await types(service, 'long', 'echo here $((2 + 3))', 'here 5');
      // The guest takes a moment to find what was plugged in.
      await types(service, 'long', 'until [ -b /dev/vdb ]; do sleep 0.1; done; wc -c < /dev/vdb', '4096');
      await service.detach('long', 'block1');
      await service.restartDevice('long', 'block0');
      await types(service, 'long', 'dd if=/dev/vda of=/dev/null bs=64k && echo re""ad', 'read');
      expect(events.events.map(({ data }) => data)).toEqual([{ vm: 'long', device: 'block0' }]);
      expect((await service.reloadDevice('long', 'block0')).ms).toBeGreaterThan(0);
      await expect(service.start({ ...SMALL, name: 'long' })).rejects.toThrow('already');
      expect((await service.stop('long')).reason).toBe('guest-shutdown');
      expect([processesOf(runtime), runtime.inspect().leases]).toEqual([[], []]);
    } finally {
      rmSync(stateDirectory, { recursive: true, force: true });
    }
  });
});
