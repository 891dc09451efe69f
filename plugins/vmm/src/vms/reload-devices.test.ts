import { fakeLogger } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import type { RunningDevice } from '../device-manager.ts';
import { reloadDevicesOf } from './reload-devices.ts';
import { Vm } from './vm.ts';

function vmWith(name: string, state: 'running' | 'stopped', owners: Readonly<Record<string, string | undefined>>): Vm {
  const vm = new Vm(name, '');
  vm.move('running');
  if (state === 'stopped') vm.move('stopped');
  for (const [id, plugin] of Object.entries(owners)) {
    vm.devices.set(id, { running: { id, plugin } as RunningDevice, slot: 1 });
  }
  return vm;
}

test('reloads the devices of the plugin, in all VMs that run, and of no other', async () => {
  const vms = [
    vmWith('one', 'running', { dice0: 'dice', dice1: 'dice', rng0: 'vmm', odd0: undefined }),
    vmWith('two', 'running', { block0: 'vmm', dice0: 'dice' }),
    vmWith('over', 'stopped', { dice0: 'dice' }),
  ];
  const log = fakeLogger();
  const reloaded: string[] = [];
  const reload = async (vm: string, device: string): Promise<{ ms: number }> => {
    reloaded.push(`${vm}/${device}`);
    if (device === 'dice1') throw new Error('broken');
    return { ms: 2 };
  };
  await reloadDevicesOf('dice', { vms, log, reload });
  expect(reloaded).toEqual(['one/dice0', 'one/dice1', 'two/dice0']);
  expect([...log.messages()].sort()).toEqual([
    'device dice0 of VM one has new code',
    'device dice0 of VM two has new code',
    'device dice1 of VM one goes on with the code that it had',
  ]);
});
