// Waiting for a descriptor in the event loop.

import { loadKoffi } from './call.ts';

/**
 * Calls `fn` once, when `fd` becomes readable. Works for whatever epoll(7) takes: pidfd, eventfd, timerfd, sockets, pipes.
 * It does not keep the process alive. The caller closes `fd`, after disposing of this.
 */
export function onReadable(fd: number, fn: () => void): Disposable {
  // ABI: koffi.node.poll over uv_poll_init and uv_poll_start of libuv; the handle is closed by close(). A descriptor can
  // be watched by one handle at a time.
  const handle = loadKoffi().node.poll(fd, { readable: true }, () => {
    stop();
    fn();
  });
  handle.unref();
  let open = true;
  function stop(): void {
    if (open) handle.close();
    open = false;
  }
  return { [Symbol.dispose]: stop };
}
