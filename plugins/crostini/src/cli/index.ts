// The commands of VMs: `runtime start`, `stop`, `list`, …

import type { Vms } from '@runtime/plugin-vmm/contract';
import type { CommandRegistry } from '@runtime/sdk';
import type { CiceroneManager } from '../cicerone/cicerone-manager.ts';
import type { ConciergeManager } from '../concierge/concierge-manager.ts';
import type { Desk } from '../concierge/desk.ts';
import type { LogKeeper } from '../concierge/log-keeper.ts';
import type { Disks } from '../contract-disks.ts';
import { addContainer } from './container.ts';
import { addDelete } from './delete.ts';
import { addDisk } from './disk.ts';
import { addInfo } from './info.ts';
import { addList } from './list.ts';
import { addLogs } from './logs.ts';
import { addResume } from './resume.ts';
import { addStart, startWithProgress } from './start.ts';
import { addStop } from './stop.ts';
import { addSuspend } from './suspend.ts';
import { addTermina } from './termina.ts';
import { addTerminaSnapshots } from './termina-snapshots.ts';
import { addTerminal } from './terminal.ts';
import { addVmc } from './vmc.ts';
import { addOriginalVsh } from './vsh.ts';
import { addVsh } from './vsh-commands.ts';

export interface CommandParts {
  readonly manager: ConciergeManager;
  readonly disks: Disks;
  readonly containers: CiceroneManager;
  readonly vms: Vms;
  readonly logs: LogKeeper;
  readonly desk: Desk;
  /** Whether guests compare the blocks of their image with their hashes. */
  readonly verity: () => Promise<boolean>;
  /** The runtime is that of one command, and VMs end with it. */
  readonly lastsOnlyHere: boolean;
}

export function addCommands(commands: CommandRegistry, parts: CommandParts): void {
  addStart(commands, parts);
  addStop(commands, parts);
  addSuspend(commands, parts);
  addResume(commands, parts);
  addList(commands, parts);
  addInfo(commands, parts);
  addLogs(commands, parts);
  addDelete(commands, parts);
  // Whoever writes the manual has no parts.
  addDisk(commands, parts?.disks as Disks);
  addVsh(commands, parts?.manager as ConciergeManager, (request, io, signal) =>
    startWithProgress(parts.manager, request, io, signal),
  );
  addTerminal(commands, parts);
  addContainer(commands, parts);
  addVmc(commands, parts);
  addOriginalVsh(commands, parts);
  addTermina(commands, () => parts.verity());
  addTerminaSnapshots(commands, async () => (await import('../snapshots/index.ts')).snapshotStore());
}
