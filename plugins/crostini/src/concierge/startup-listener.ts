// Port 7777 of the host: where a guest says that it is ready.

import { addRpcService } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';
import { type GuestListenerLimits, listenForGuest } from './guest-listener.ts';

/** All messages are small. */
const LIMITS: GuestListenerLimits = { maxMessage: 64 * 1024, maxCalls: 8 };

/**
 * @param path of the socket; what lay there is replaced
 * @param onReady throws when nobody expects the call
 */
export function listenForStartup(path: string, onReady: () => void): Promise<Disposable> {
  return listenForGuest(path, LIMITS, (server) =>
    addRpcService(server, guestWire, 'vm_tools.StartupListener', {
      VmReady: async () => {
        onReady();
        return {};
      },
      VmInstallStatus: async () => ({}),
    }),
  );
}
