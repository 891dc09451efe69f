// What the process of a network device may touch. Data, for whoever jails it: it opens no path and makes no socket.

export const plan = {
  /** Nothing is opened: taps come as descriptors, and connections to passt from the runtime. */
  paths: [],
  /** Names of descriptors; `tap0` is that of the first pair of queues. */
  fds: { 'tap*': 'read-write', passt: 'read-write' },
  /** Beyond those of every device process (Node, rings, control channel). */
  syscalls: ['read', 'write', 'writev', 'recvfrom', 'sendto', 'sendmsg', 'ioctl', 'mmap', 'munmap', 'close'],
  /** Numbers of ioctl: TUNSETOFFLOAD, TUNSETQUEUE. */
  ioctls: [0x4004_54d0, 0x4004_54d9],
} as const;
