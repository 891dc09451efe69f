// What the process of a device may touch, as data: for whoever jails it.

export interface DevicePlan {
  /** Paths that it opens; a device of ours opens none. */
  readonly paths: readonly string[];
  /** Names of the descriptors that it is given (`*` stands for a number), and what it does with them. */
  readonly fds: Readonly<Record<string, 'read' | 'write' | 'read-write'>>;
  /** System calls beyond those of every device process (Node, rings, control channel). */
  readonly syscalls: readonly string[];
  /** Request numbers of ioctl(2). */
  readonly ioctls: readonly number[];
}
