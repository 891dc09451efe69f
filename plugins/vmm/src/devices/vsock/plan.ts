// What the process of a vsock device may touch. Data, for whoever jails it: it opens no path and makes no socket.

export const plan = {
  /** Nothing is opened: it accepts on sockets that it was given, and the runtime answers its requests with connected ones. */
  paths: [],
  /** Names of descriptors; `port-5000` leads to port 5000 of the guest. */
  fds: { listen: 'read-write', 'port-*': 'read-write' },
  /** Beyond those of every device process (Node, rings, control channel). */
  syscalls: [
    'accept4',
    'sendto',
    'sendmsg',
    'recvfrom',
    'recvmsg',
    'shutdown',
    'poll',
    'mmap',
    'munmap',
    'fstat',
    'close',
  ],
  ioctls: [],
} as const;
