// Events of the runtime as signals of cicerone, in the order in which they happened.

import type { EventBus } from '@runtime/sdk';
import type { CiceroneDesk } from './handlers.ts';
import type { EmitSignal } from './methods.ts';

/** Until it is disposed of. */
export function forwardContainerSignals(
  events: Pick<EventBus, 'on'>,
  desk: Pick<CiceroneDesk, 'listContainers' | 'containerToken'>,
  emit: EmitSignal,
): Disposable {
  const stack = new DisposableStack();
  stack.use(
    events.on('container:tremplin', ({ vm, owner }) => emit('TremplinStarted', { vm_name: vm, owner_id: owner })),
  );
  stack.use(
    events.on('container:started', async ({ vm, owner, container }) => {
      const all = await desk.listContainers({ owner });
      const found = all.find((one) => one.vm === vm && one.name === container);
      emit('ContainerStarted', {
        ...{ vm_name: vm, owner_id: owner, container_name: container },
        ...{ container_username: found?.username ?? '', container_homedir: found?.homedir ?? '' },
        ...{ ipv4_address: found?.ipv4 ?? '', container_token: desk.containerToken({ vm, owner, container }) ?? '' },
      });
    }),
  );
  stack.use(
    events.on('container:stopped', ({ vm, owner, container }) =>
      emit('ContainerShutdown', { vm_name: vm, owner_id: owner, container_name: container }),
    ),
  );
  return stack;
}
