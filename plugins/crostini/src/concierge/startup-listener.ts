// Port 7777 of the host: where a guest says that it is ready. Every VM has a socket of its own, so that who calls is known
// by where it calls, and it listens before its machine starts.

import { rmSync } from 'node:fs';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { addRpcService } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';

/** Bytes of a message: all of them are small. */
const MAX_MESSAGE = 64 * 1024;
/** Calls at once. */
const MAX_CALLS = 8;

/**
 * @param path of the socket; what lay there is replaced
 * @param onReady throws when nobody expects the call
 */
export async function listenForStartup(path: string, onReady: () => void): Promise<Disposable> {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE,
    'grpc.max_concurrent_streams': MAX_CALLS,
    'grpc.max_metadata_size': MAX_MESSAGE,
  });
  addRpcService(server, guestWire, 'vm_tools.StartupListener', {
    VmReady: async () => {
      onReady();
      return {};
    },
    VmInstallStatus: async () => ({}),
  });
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (e) => (e === null ? resolve() : reject(e)));
  });
  return {
    [Symbol.dispose]() {
      server.forceShutdown();
      rmSync(path, { force: true });
    },
  };
}
