// Processes that outlived a runtime, of VMs of which nothing is left to know: a record was lost, or a VM could not be
// taken over.

import type { Logger, ProcessSupervisor } from '@runtime/sdk';

/** Ends those whose VM is not `known`. */
export async function stopOrphans(
  processes: ProcessSupervisor,
  log: Logger,
  known: (vm: string) => boolean,
): Promise<void> {
  const orphans = processes.list().filter(({ key, detached, state }) => {
    const vm = vmOfProcess(key);
    return detached && state === 'ready' && vm !== undefined && !known(vm);
  });
  for (const { key } of orphans) log.warn({ process: key }, `${key} belongs to no VM, and is ended`);
  await Promise.allSettled(orphans.map((orphan) => orphan.stop()));
}

/** `vm/<name>/qemu`, `<name>/<device>` and `<name>/<device>/<helper>` */
function vmOfProcess(key: string): string | undefined {
  return /^vm\/([^/]+)\/qemu$/.exec(key)?.[1] ?? /^([^/]+)\/[^/]+(\/[^/]+)?$/.exec(key)?.[1];
}
