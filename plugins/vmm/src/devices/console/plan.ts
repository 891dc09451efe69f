// What the process of a console device may touch. Data, for whoever jails it.

export const plan = {
  paths: [],
  /** Left out `in`: nobody types. */
  fds: { in: 'read', out: 'write' },
  /** Beyond those of every device process (Node, rings, control channel). */
  syscalls: ['read', 'write', 'fcntl', 'mmap', 'munmap'],
  ioctls: [],
} as const;
