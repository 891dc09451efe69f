// What the process of a vsock device may touch. Data, for whoever jails it: it opens no path and makes no socket.

export const plan = {
  paths: [],
  /** `port-5000` leads to port 5000 of the guest. */
  fds: { listen: 'read-write', 'port-*': 'read-write' },
  /** Beyond those of every device process (Node, rings, control channel). */
  syscalls: ['accept4', 'sendto', 'sendmsg', 'recvfrom', 'recvmsg', 'shutdown', 'poll', 'fstat'],
  ioctls: [],
} as const;
