// VMs that go on from what another one was: real QEMU, the default guest.

import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type VmDescription, type VmSnapshot, type Vms, vms } from '../../plugins/vmm/src/contract.ts';
import { ensureDefaultGuest } from '../../plugins/vmm/src/guest/default-guest.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { lacking } from './lab.ts';

const why = lacking();
if (why !== undefined) console.log(`test/vm/snapshot.test.ts is skipped: there is no ${why}`);

/** All of its devices can be written down. */
const BARE: VmDescription = { mem: 192, net: [], vsock: false, rng: false };

let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vm-'));
  process.env.XDG_RUNTIME_DIR = folder;
  if (why === undefined) await ensureDefaultGuest();
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Types a line into the shell of the guest, and waits for what it prints. */
async function types(service: Vms, vm: string, line: string, answer: RegExp): Promise<string> {
  const { next } = await service.readConsole(vm);
  await service.writeConsole(vm, Buffer.from(`${line}\r`));
  return await shows(service, vm, answer, next);
}

async function shows(service: Vms, vm: string, answer: RegExp, from = 0): Promise<string> {
  let seen = '';
  for (let next = from, until = Date.now() + 60_000; Date.now() < until; ) {
    const chunk = await service.readConsole(vm, { from: next, waitMs: 1_000 });
    seen += Buffer.from(chunk.bytes).toString();
    next = chunk.next;
    const found = answer.exec(seen);
    if (found !== null) return found[1] ?? '';
    if (chunk.ended) break;
  }
  throw new Error(`the console of ${vm} does not show ${answer}: ${seen.slice(-2_000)}`);
}

describe.skipIf(why !== undefined)('a snapshot', { timeout: 180_000 }, () => {
  test('is gone on from by two VMs at once, each with devices of its own', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    const service = runtime.get(vms);
    const disk = join(folder, 'disk.img');
    writeFileSync(disk, 'what is on the disk');
    truncateSync(disk, 2 ** 20);
    const own = join(folder, 'own.img');
    writeFileSync(own, '');
    truncateSync(own, 2 ** 20);
    const same: VmDescription = { mem: 192, balloon: true };
    const root = { path: disk, ro: true };
    await service.start({ ...same, name: 'template', block: [root], net: [], vsock: false, rng: false });
    await shows(service, 'template', /guest:/);
    await types(service, 'template', 'secret=$((6 * 7)); echo se""t', /set/);
    const path = join(folder, 'state');
    const snapshot = await service.save('template', path);
    await service.stop('template', { force: true });
    expect(statSync(path).mode & 0o777).toBe(0o700);
    for (const file of readdirSync(path)) expect(statSync(join(path, file)).mode & 0o777).toBe(0o600);
    expect(snapshot).toMatchObject({ path, slots: { block0: 2, balloon0: 3 } });

    const full = { ...same, vsock: true, rng: true };
    const [one, two] = await Promise.all([
      service.start({ ...full, name: 'one', block: [root, { path: own }], net: [{}] }, { restore: snapshot }),
      service.start({ ...full, name: 'two', block: [root], net: [{ backend: 'user' }] }, { restore: snapshot }),
    ]);
    expect(one.cid).not.toBe(two.cid);
    for (const name of ['one', 'two']) {
      expect(await types(service, name, 'echo "secret "$secret', /secret (\d+)\r/)).toBe('42');
      await types(service, name, 'head -c 19 /dev/vda; echo', /what is on the disk/);
    }
    // The guest sees what was plugged in, too.
    await types(
      service,
      'one',
      'until [ -e /sys/bus/pci/devices/0000:00:07.0 ]; do sleep 0.1; done; echo ha""s',
      /has/,
    );
    const devices = async (vm: string) => (await service.inspect(vm)).devices.map(({ id, slot }) => [id, slot]);
    expect(await devices('one')).toEqual([
      ['block0', 2],
      ['balloon0', 3],
      ['block1', 4],
      ['net0', 5],
      ['rng0', 6],
      ['vsock0', 7],
    ]);
    for (const name of ['one', 'two']) {
      expect((await service.stop(name, { force: true })).reason).toBe('stopped');
    }
    expect(runtime.inspect().leases).toEqual([]);
    expect(runtime.inspect().processes).toEqual([]);
  });

  test('outlives the runtime when it is gone on from', async () => {
    const stateDirectory = mkdtempSync(join(folder, 's'));
    const path = join(folder, 'state2');
    const open = () => createTestRuntime({ plugins: [vmm], stateDirectory });
    {
      await using runtime = await open();
      const service = runtime.get(vms);
      await service.start({ ...BARE, name: 'template' });
      await shows(service, 'template', /guest:/);
      const snapshot = await service.save('template', path);
      await service.stop('template', { force: true });
      await service.start({ ...BARE, name: 'one', vsock: true, net: [{ backend: 'user' }] }, { restore: snapshot });
    }
    await using runtime = await open();
    const service = runtime.get(vms);
    await types(service, 'one', 'echo still $((1 + 1))', /still 2\r/);
    const { devices, cid } = await service.inspect('one');
    expect(devices.map(({ id }) => id)).toEqual(['net0', 'vsock0']);
    expect(cid).toBeGreaterThanOrEqual(32);
    await service.restartDevice('one', 'vsock0');
    await service.detach('one', 'vsock0');
    await service.stop('one', { force: true });
  });

  test('is refused when it is damaged, or of another kind of VM', async () => {
    await using runtime = await createTestRuntime({ plugins: [vmm] });
    const service = runtime.get(vms);
    await service.start({ ...BARE, name: 'template', vsock: true });
    const path = join(folder, 'state3');
    await expect(service.save('template', path)).rejects.toMatchObject({ code: 'VMM_ERR_SNAPSHOT' });
    expect(existsSync(path)).toBe(false);
    await service.stop('template', { force: true });

    await service.start({ ...BARE, name: 'template' });
    await shows(service, 'template', /guest:/);
    const restore = await service.save('template', path);
    await service.stop('template', { force: true });
    const refused = async (description: VmDescription, changed: Partial<VmSnapshot> = {}): Promise<void> => {
      const started = service.start({ ...description, name: 'one' }, { restore: { ...restore, ...changed } });
      await expect(started).rejects.toMatchObject({ code: 'VMM_ERR_SNAPSHOT' });
    };
    await refused({ ...BARE, mem: 256 });
    await refused({ ...BARE, board: 'q35' });
    await refused(BARE, { program: 'another' });
    await refused(BARE, { slots: { block0: 2 } });
    await refused(BARE, { path: join(folder, 'nowhere') });
    const machine = join(path, 'machine');
    truncateSync(machine, statSync(machine).size >> 1);
    await refused(BARE);
    writeFileSync(machine, 'not a state of a machine');
    await refused(BARE);
    expect(runtime.inspect().leases).toEqual([]);
    expect(runtime.inspect().processes).toEqual([]);
  });
});
