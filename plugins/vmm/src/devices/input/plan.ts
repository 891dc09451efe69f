// What the process of an input device may touch. Data, for whoever jails it: events come over the control channel.

export const plan = {
  paths: [],
  fds: {},
  /** Beyond those of every device process (Node, rings, control channel). */
  syscalls: [],
  ioctls: [],
} as const;
