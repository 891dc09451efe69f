// The commands `runtime vm …`.

import type { CommandRegistry } from '@runtime/sdk';
import type { Vms } from '../contract.ts';
import { addRun } from './run.ts';

export function addCommands(commands: CommandRegistry, vms: Vms): void {
  addRun(commands, vms);
}
