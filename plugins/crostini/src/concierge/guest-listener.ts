// A port of the host that one guest may call. Every VM has sockets of its own, so that who calls is known by where it
// calls, and they listen before its machine starts.

import { rmSync } from 'node:fs';
import { Server, ServerCredentials } from '@grpc/grpc-js';

export interface GuestListenerLimits {
  /** Bytes of a message; the headers of a call may have 64 KiB. */
  readonly maxMessage: number;
  /** At once, on one connection. */
  readonly maxCalls: number;
}

const MAX_HEADERS = 64 * 1024;

/**
 * @param path of the socket; what lay there is replaced
 * @param addServices to the server, before it listens
 */
export async function listenForGuest(
  path: string,
  { maxMessage, maxCalls }: GuestListenerLimits,
  addServices: (server: Server) => void,
): Promise<Disposable> {
  const server = new Server({
    'grpc.max_receive_message_length': maxMessage,
    'grpc.max_concurrent_streams': maxCalls,
    'grpc.max_metadata_size': MAX_HEADERS,
  });
  addServices(server);
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
