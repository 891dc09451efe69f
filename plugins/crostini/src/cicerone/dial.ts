// Ports of a guest that were not known when its machine was made, through the socket that leads to all of them.

import { connect, type Socket } from 'node:net';
import { join } from 'node:path';

const ANSWER_MAX = 64;

/**
 * @param directory of the VM, where the vmm plugin has its sockets
 * @throws Error when nobody listens there; the reason of the signal
 */
export async function dialGuest(directory: string, port: number, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const socket = connect({ path: join(directory, 'vsock.sock'), allowHalfOpen: true });
  const answered = Promise.withResolvers<void>();
  let answer = Buffer.alloc(0);
  const onData = (bytes: Buffer): void => {
    answer = Buffer.concat([answer, bytes]);
    const end = answer.indexOf('\n');
    if (end < 0 && answer.length < ANSWER_MAX) return;
    if (end < 0 || !answer.subarray(0, end).toString('latin1').startsWith('OK ')) {
      answered.reject(new Error(`port ${port} of the guest does not answer`));
      return;
    }
    socket.off('data', onData);
    socket.pause();
    if (end + 1 < answer.length) socket.unshift(answer.subarray(end + 1));
    answered.resolve();
  };
  const onAbort = (): void => answered.reject(signal.reason);
  const onClose = (): void => answered.reject(new Error(`port ${port} of the guest cannot be called`));
  socket.on('data', onData);
  socket.on('error', answered.reject);
  socket.on('close', onClose);
  signal.addEventListener('abort', onAbort, { once: true });
  socket.write(`CONNECT ${port}\n`);
  try {
    await answered.promise;
    return socket;
  } catch (e) {
    socket.destroy();
    throw e;
  } finally {
    signal.removeEventListener('abort', onAbort);
    socket.off('close', onClose);
    // Whoever gets it listens to its errors; until then one must not end the process.
    socket.on('error', () => {});
  }
}
