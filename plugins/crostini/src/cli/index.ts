// The commands of VMs: `runtime start`, `stop`, `list`, …

import type { Vms } from '@runtime/plugin-vmm/contract';
import type { CommandRegistry } from '@runtime/sdk';
import type { ConciergeManager } from '../concierge/concierge-manager.ts';
import { addInfo } from './info.ts';
import { addList } from './list.ts';
import { addLogs } from './logs.ts';
import { addStart } from './start.ts';
import { addStop } from './stop.ts';

export interface CommandParts {
  readonly manager: ConciergeManager;
  readonly vms: Vms;
  /** The runtime is that of one command, and VMs end with it. */
  readonly lastsOnlyHere: boolean;
}

/** Of a VM that is not named, as in ChromeOS. */
export const DEFAULT_VM = 'termina';

export function addCommands(commands: CommandRegistry, parts: CommandParts): void {
  addStart(commands, parts);
  addStop(commands, parts);
  addList(commands, parts);
  addInfo(commands, parts);
  addLogs(commands, parts);
}
