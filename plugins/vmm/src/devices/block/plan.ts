// What the process of a block device may touch. Data, for whoever jails it: it opens no path.

export const plan = {
  /** Nothing is opened: the image and its backing files come as descriptors. */
  paths: [],
  /** Names of descriptors; `backing0` is the file that the image is based on, `backing1` the one below that. */
  fds: { disk: 'read-write', 'backing*': 'read' },
  /** Beyond those of every device process (Node, rings, control channel). */
  syscalls: [
    'pread64',
    'preadv',
    'preadv2',
    'pwrite64',
    'pwritev',
    'fdatasync',
    'fallocate',
    'fstat',
    'ftruncate',
    'ioctl',
    'memfd_create',
  ],
  /** Numbers of ioctl: BLKGETSIZE64. */
  ioctls: [0x8008_1272],
} as const;
