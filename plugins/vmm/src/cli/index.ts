// The commands `runtime vm …`.

import type { CommandRegistry } from '@runtime/sdk';
import type { Vms } from '../contract.ts';
import { addDevices, type KindListing } from './devices.ts';
import { addDisk } from './disk.ts';
import { addLifecycle } from './lifecycle.ts';
import { addRun } from './run.ts';

export function addCommands(commands: CommandRegistry, vms: Vms, kinds: () => Promise<readonly KindListing[]>): void {
  addRun(commands, vms);
  addLifecycle(commands, vms);
  addDisk(commands);
  addDevices(commands, vms, kinds);
}
