import type { VmDescription, VmSnapshot } from '@runtime/plugin-vmm/contract';
import { recordEvents } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import type { ConciergeOptions } from './concierge-manager.ts';
import { startRig } from './test-rig.ts';

const snapshot: VmSnapshot = { path: '/snapshot', program: 'qemu', shape: 'pc', slots: { block0: 2 } };

/** One snapshot, until it is thrown away. */
class OneSnapshot implements NonNullable<ConciergeOptions['snapshots']> {
  readonly done: string[] = [];
  isThere: boolean;

  constructor(isThere: boolean) {
    this.isThere = isThere;
  }

  async find(description: VmDescription) {
    if (!this.isThere) return undefined;
    const discard = (): void => {
      this.isThere = false;
      this.done.push('discard');
    };
    return { snapshot, description: { ...description, params: 'restored' }, discard };
  }

  async prepare(): Promise<void> {
    this.done.push('prepare');
  }
}

const TOPICS = ['termina:starting', 'termina:started'];

test('a VM goes on from a snapshot, and is woken before it is told anything else', async () => {
  const snapshots = new OneSnapshot(true);
  await using rig = await startRig(undefined, { snapshots });
  using heard = recordEvents(rig.runtime, 'termina:*');
  await rig.manager.start({ name: 'foo', profile: 'fast' });
  expect(rig.fake.done).toEqual(['Wake', 'ConfigureNetwork', 'SetResolvConfig', 'SetTimezone', 'SetTime']);
  expect(rig.fake.machines.get('t-foo')?.description.params).toBe('restored');
  expect(snapshots.done).toEqual([]);
  expect(heard.events.map(({ topic }) => topic)).toEqual(TOPICS);
});

test('one whose guest does not wake up boots, and nobody hears of it', async () => {
  const snapshots = new OneSnapshot(true);
  await using rig = await startRig(undefined, { snapshots });
  using heard = recordEvents(rig.runtime, 'termina:*');
  rig.fake.behaviour = { failsAt: 'Wake' };
  const vm = await rig.manager.start({ name: 'foo', profile: 'fast' });
  expect(rig.fake.done.slice(0, 3)).toEqual(['Wake', 'force', 'ConfigureNetwork']);
  expect(rig.fake.machines.get('t-foo')?.description.params).toEqual(['quiet']);
  expect(snapshots.done).toEqual(['discard', 'prepare']);
  expect(heard.events.map(({ topic, data }) => [topic, (data as { cid: number }).cid])).toEqual(
    TOPICS.map((topic) => [topic, vm.cid]),
  );
});

test('one whose machine dies before it is awake boots once all of it is undone, and is not taken for dead', async () => {
  const snapshots = new OneSnapshot(true);
  await using rig = await startRig(undefined, { snapshots });
  rig.fake.behaviour = { diesAsleep: true };
  const began = performance.now();
  const vm = await rig.manager.start({ name: 'foo', profile: 'fast' });
  expect(performance.now() - began).toBeLessThan(5_000);
  expect(vm).toMatchObject({ state: 'running', cid: 33 });
  expect(rig.fake.done.slice(0, 3)).toEqual(['Wake', 'force', 'ConfigureNetwork']);
  expect(await rig.manager.listVms()).toHaveLength(1);
});

test('the next one is prepared when the first has booted', async () => {
  const snapshots = new OneSnapshot(false);
  await using rig = await startRig(undefined, { snapshots });
  await rig.manager.start({ name: 'foo' });
  expect(snapshots.done).toEqual(['prepare']);
});

test.each([{ kernelParams: ['quiet'] }, { files: { kernel: '/own' } }])(
  'a VM of its own kind boots: %j',
  async (request) => {
    const snapshots = new OneSnapshot(true);
    await using rig = await startRig(undefined, { snapshots });
    await rig.manager.start({ name: 'foo', ...request });
    expect(rig.fake.done).not.toContain('Wake');
    expect(snapshots.done).toEqual([]);
  },
);

test('a machine that was being saved when its runtime was killed is ended by the next', async () => {
  await using rig = await startRig();
  rig.fake.behaviour = { absent: true };
  await rig.fake.vms.start({ name: 't.template-12345678' });
  await using next = await rig.restart();
  expect(next.fake.done).toEqual(['force']);
  expect(next.fake.machines.get('t.template-12345678')?.state).toBe('stopped');
});
