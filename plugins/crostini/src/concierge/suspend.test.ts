import { expect, test } from 'vitest';
import { startRig } from './test-rig.ts';

test('a VM that is suspended stands still until it is resumed, and is told the time', async () => {
  await using rig = await startRig();
  const { fake, manager } = rig;
  await manager.start({ name: 'foo' });
  fake.done.length = 0;
  await manager.suspendVm('foo');
  await manager.suspendVm('foo');
  expect(fake.done).toEqual(['PrepareToSuspend', 'pause']);
  expect(await manager.getVm('foo')).toMatchObject({ state: 'running', suspended: true });
  await expect(manager.endpoint('foo')).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_STATE' });
  expect(manager.ballooned()).toEqual([]);
  expect(await manager.syncVmTimes()).toEqual({ asked: 0, failures: [] });
  await manager.resumeVm('foo');
  await manager.resumeVm('foo');
  expect(fake.done.slice(2)).toEqual(['resume', 'SetTime']);
  expect(await manager.getVm('foo')).not.toHaveProperty('suspended');
  expect(manager.ballooned()).toMatchObject([{ name: 'foo', machine: 't-foo' }]);
});

test('the time is told to all that run, and who does not take it is named', async () => {
  await using rig = await startRig();
  const { fake, manager } = rig;
  for (const name of ['foo', 'bar']) await manager.start({ name });
  fake.done.length = 0;
  expect(await manager.syncVmTimes()).toEqual({ asked: 2, failures: [] });
  expect(fake.done).toEqual(['SetTime', 'SetTime']);
  fake.behaviour = { failsAt: 'SetTime' };
  const { asked, failures } = await manager.syncVmTimes();
  expect(asked).toBe(2);
  expect(failures).toEqual([expect.stringMatching(/^foo: .*not for you/), expect.stringMatching(/^bar: /)]);
});

test('a VM that is suspended is resumed to be stopped', async () => {
  await using rig = await startRig();
  const { fake, manager } = rig;
  await manager.start({ name: 'foo' });
  await manager.suspendVm('foo');
  fake.done.length = 0;
  await manager.stopVm('foo');
  expect(fake.done).toEqual(['resume', 'Shutdown']);
});

test('whoever has the machine stand still has the VM suspended', async () => {
  await using rig = await startRig();
  const { fake, manager } = rig;
  await manager.start({ name: 'foo' });
  fake.events?.emit('vm:paused', { vm: 't-foo' });
  expect(await manager.getVm('foo')).toMatchObject({ suspended: true });
  fake.events?.emit('vm:resumed', { vm: 't-foo' });
  expect(await manager.getVm('foo')).not.toHaveProperty('suspended');
});
