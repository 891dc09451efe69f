// The way of a program to a runtime that runs. Plugins import the same package, and need nothing of this: it is loaded
// when it is called.

import type { ConnectOptions } from '@runtime/core/control';
import type { RuntimeClient } from './client/runtime-client.ts';

/**
 * Connects to the runtime of this user: the one that is named, or that of RUNTIME_NAME, or the default one.
 * @example
 * await using runtime = await connect();
 * await using vm = await runtime.vms.start({ profile: 'fast' });
 * const { stdout } = await vm.exec(['uname', '-a']);
 * @throws CORE_ERR_CONTROL_UNREACHABLE when none runs, CORE_ERR_CONTROL_VERSION, CORE_ERR_CONTROL_DEADLINE
 */
export async function connect(options: ConnectOptions = {}): Promise<RuntimeClient> {
  const { openRuntime } = await import('./client/runtime-client.ts');
  return await openRuntime(options);
}
