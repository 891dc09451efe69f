// A connected socket of any family as a stream of Node. libuv reads and writes whatever is a stream, so a vsock costs no
// more than a Unix socket: half-close is shutdown(2), back-pressure that of net.Socket.

import { Socket, type SocketConstructorOpts } from 'node:net';

/** The handle of libuv for local sockets, uv_pipe_t: it takes any descriptor that is a stream. */
interface PipeHandle {
  /** 0, or −errno. The descriptor is the handle's from then on. */
  open(fd: number): number;
}

interface PipeBinding {
  readonly Pipe: new (type: number) => PipeHandle;
  readonly constants: { readonly SOCKET: number };
}

let binding: PipeBinding | undefined;

/**
 * net.Socket refuses the descriptor of a family that Node does not know ("unknown handle type"), though libuv does not
 * care; the handle has to be made by hand.
 */
function pipes(): PipeBinding {
  const { binding: internal } = process as unknown as { readonly binding: (name: string) => PipeBinding };
  binding ??= internal.call(process, 'pipe_wrap');
  return binding;
}

/**
 * @param fd a connected stream socket, the stream's from now on
 * @throws Error of the system when it is none; then it stays the caller's
 */
export function streamOfFd(fd: number): Socket {
  const { Pipe, constants } = pipes();
  const handle = new Pipe(constants.SOCKET);
  const result = handle.open(fd);
  if (result !== 0) throw new Error(`descriptor ${fd} cannot be a stream (${result})`);
  // Whoever has said all may still listen: commands answer after their input has ended.
  const options: object = { handle, readable: true, writable: true, allowHalfOpen: true };
  return new Socket(options as SocketConstructorOpts);
}
