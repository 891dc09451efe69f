// A connection to a port of the guest through the Unix socket of its vsock device: `CONNECT <port>`, as with Firecracker.

import { connect, type Socket } from 'node:net';

/** @throws Error when nobody listens there in the guest */
export function openVsockStream(path: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    const fail = (why: Error): void => {
      socket.destroy();
      reject(why);
    };
    socket.once('error', fail);
    socket.once('end', () => fail(new Error(`the guest refused port ${port}`)));
    socket.write(`CONNECT ${port}\n`);
    let head = '';
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      const at = head.indexOf('\n');
      if (at < 0) return;
      socket.off('data', onData);
      socket.pause();
      socket.removeAllListeners('end');
      socket.removeAllListeners('error');
      if (!head.startsWith('OK ')) return fail(new Error(`the guest answered ${head.trim()}`));
      const rest = head.slice(at + 1);
      if (rest !== '') socket.unshift(Buffer.from(rest, 'latin1'));
      // Whoever waited for it has had its turn to listen by then.
      setImmediate(() => socket.resume());
      resolve(socket);
    };
    socket.on('data', onData);
  });
}
