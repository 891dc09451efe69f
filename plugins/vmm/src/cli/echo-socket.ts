// The host's end of the guest's check of vsock: whoever calls the port gets back what they send.

import { createServer } from 'node:net';
import { hostPortSocket } from '../devices/vsock/host.ts';

/** A port of the host that nothing else is known to use. */
export const ECHO_PORT = 7;

/** @param directory of the VM; the socket goes away with the folder */
export function echoSocket(directory: string): Disposable {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  // Without it the guest finds nobody, and says so.
  server.on('error', () => {});
  server.listen(hostPortSocket(directory, ECHO_PORT));
  return { [Symbol.dispose]: () => server.close() };
}
