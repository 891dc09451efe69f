// Events of the runtime as signals of concierge, in the order in which they happened.

import type { EventBus } from '@runtime/sdk';
import type { Concierge, TerminaVm } from '../contract.ts';
import type { Disks } from '../contract-disks.ts';
import { jobStatus } from './disk-methods.ts';
import { watchDns } from './dns-settings.ts';
import type { SIGNALS, SignalName } from './methods.ts';
import type { Response } from './types.ts';
import { VM_TYPES, vmInfo, vmStatus } from './vm-info.ts';

export type EmitSignal = <S extends SignalName>(signal: S, values: Response<(typeof SIGNALS)[S]>) => void;

export interface SignalDependencies {
  readonly events: Pick<EventBus, 'on'>;
  readonly concierge: Concierge;
  readonly disks: Disks | undefined;
}

/** Until it is disposed of. */
export function forwardSignals({ events, concierge, disks }: SignalDependencies, emit: EmitSignal): Disposable {
  const stack = new DisposableStack();
  // Some have to ask for what they tell, and none may overtake another.
  let last: Promise<void> = Promise.resolve();
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    last = last.then(work, work);
    return last.catch(() => {});
  };
  const lookUp = async (name: string, owner: string): Promise<TerminaVm | undefined> => {
    try {
      return await concierge.getVm(name, { owner });
    } catch {
      // It is gone already; what the event says has to do.
      return undefined;
    }
  };

  const starting = events.on('termina:starting', ({ vm, owner, cid }) =>
    inTurn(async () => {
      const type = (await lookUp(vm, owner))?.type ?? 'termina';
      emit('VmStartingUpSignal', { name: vm, owner_id: owner, vm_type: VM_TYPES[type], cid: BigInt(cid) });
    }),
  );
  const started = events.on('termina:started', ({ vm, owner, cid }) =>
    inTurn(async () => {
      const found = await lookUp(vm, owner);
      const vm_info = found === undefined ? { cid: BigInt(cid), vm_type: VM_TYPES.termina } : vmInfo(found);
      const status = found === undefined ? 'VM_STATUS_RUNNING' : vmStatus(found);
      emit('VmStartedSignal', { name: vm, owner_id: owner, vm_info, status });
    }),
  );
  const stopping = events.on('termina:stopping', ({ vm, owner, cid }) =>
    inTurn(async () => emit('VmStoppingSignal', { name: vm, owner_id: owner, cid: BigInt(cid) })),
  );
  const stopped = events.on('termina:stopped', ({ vm, owner, cid, reason }) =>
    inTurn(async () => emit('VmStoppedSignal', { name: vm, owner_id: owner, cid: BigInt(cid), reason })),
  );
  const progress = events.on('disk:progress', ({ uuid, percent }) =>
    inTurn(async () =>
      emit('DiskImageProgress', { command_uuid: uuid, status: 'DISK_STATUS_IN_PROGRESS', progress: percent }),
    ),
  );
  const done = events.on('disk:done', ({ uuid }) =>
    inTurn(async () => {
      const job = await disks?.status(uuid);
      if (job !== undefined) emit('DiskImageProgress', jobStatus(job));
    }),
  );
  stack.use(watchDns((settings) => void inTurn(async () => emit('DnsSettingsChanged', settings))));
  for (const one of [starting, started, stopping, stopped, progress, done]) stack.use(one);
  return stack;
}
