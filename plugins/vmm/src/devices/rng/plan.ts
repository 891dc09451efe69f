// What the process of an entropy device may touch. Data, for whoever jails it.

export const plan = {
  paths: [],
  fds: {},
  /** Beyond those of every device process (Node, rings, control channel). */
  syscalls: ['getrandom'],
  ioctls: [],
} as const;
