// Reading and writing by address, for paths where every call counts: numbers only, nothing is allocated, nothing throws.
// Each returns what the call returned, or −errno. Addresses are those of mapping.ts or of guest memory; what they name
// must stay mapped until the call returns. Nothing here retries: EINTR, EAGAIN and short counts are the caller's.

import { declareHot, errnoCell } from './call.ts';

export { errnoName } from './call.ts';

export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const FALLOC_ZERO_RANGE = 16;

/** Positive, include/uapi/asm-generic/errno*.h. Those that loops compare with. */
export const ERRNO = {
  EPERM: 1,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  EFAULT: 14,
  EBUSY: 16,
  EINVAL: 22,
  ENOSPC: 28,
  EPIPE: 32,
  ENOSYS: 38,
  EBADFD: 77,
  EOPNOTSUPP: 95,
  ENOBUFS: 105,
  ETIME: 62,
  ECANCELED: 125,
} as const;

/** Of this thread; read in the statement after a call, see call.ts. */
let errno: Int32Array = new Int32Array(1);

function declareRaw<A extends readonly number[]>(
  prototype: string,
  keep: (linked: (...args: A) => number) => void,
): (...args: A) => number {
  return declareHot<A>(prototype, (linked) => {
    errno = errnoCell();
    keep(linked);
  });
}

// ABI: ssize_t read(int fd, void *buf, size_t count); read(2). The kernel writes to the range during the call.
let read = declareRaw<[fd: number, address: number, length: number]>(
  'int64_t read(int fd, intptr_t address, size_t length)',
  (linked) => {
    read = linked;
  },
);
export function rawRead(fd: number, address: number, length: number): number {
  const result = read(fd, address, length);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t write(int fd, const void *buf, size_t count); write(2). The kernel reads the range during the call.
let write = declareRaw<[fd: number, address: number, length: number]>(
  'int64_t write(int fd, intptr_t address, size_t length)',
  (linked) => {
    write = linked;
  },
);
export function rawWrite(fd: number, address: number, length: number): number {
  const result = write(fd, address, length);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t pread(int fd, void *buf, size_t count, off_t offset); pread(2). off_t is 64-bit on all we run on.
let pread = declareRaw<[fd: number, address: number, length: number, offset: number]>(
  'int64_t pread(int fd, intptr_t address, size_t length, int64_t offset)',
  (linked) => {
    pread = linked;
  },
);
export function rawPread(fd: number, address: number, length: number, offset: number): number {
  const result = pread(fd, address, length, offset);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset); pwrite(2).
let pwrite = declareRaw<[fd: number, address: number, length: number, offset: number]>(
  'int64_t pwrite(int fd, intptr_t address, size_t length, int64_t offset)',
  (linked) => {
    pwrite = linked;
  },
);
export function rawPwrite(fd: number, address: number, length: number, offset: number): number {
  const result = pwrite(fd, address, length, offset);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t readv(int fd, const struct iovec *iov, int iovcnt); readv(2). The iovecs (u64 base, u64 length) and what
// they name are used during the call.
let readv = declareRaw<[fd: number, iovecs: number, count: number]>(
  'int64_t readv(int fd, intptr_t iovecs, int count)',
  (linked) => {
    readv = linked;
  },
);
export function rawReadv(fd: number, iovecs: number, count: number): number {
  const result = readv(fd, iovecs, count);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t writev(int fd, const struct iovec *iov, int iovcnt); writev(2).
let writev = declareRaw<[fd: number, iovecs: number, count: number]>(
  'int64_t writev(int fd, intptr_t iovecs, int count)',
  (linked) => {
    writev = linked;
  },
);
export function rawWritev(fd: number, iovecs: number, count: number): number {
  const result = writev(fd, iovecs, count);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t preadv(int fd, const struct iovec *iov, int iovcnt, off_t offset); preadv(2).
let preadv = declareRaw<[fd: number, iovecs: number, count: number, offset: number]>(
  'int64_t preadv(int fd, intptr_t iovecs, int count, int64_t offset)',
  (linked) => {
    preadv = linked;
  },
);
export function rawPreadv(fd: number, iovecs: number, count: number, offset: number): number {
  const result = preadv(fd, iovecs, count, offset);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t pwritev(int fd, const struct iovec *iov, int iovcnt, off_t offset); pwritev(2).
let pwritev = declareRaw<[fd: number, iovecs: number, count: number, offset: number]>(
  'int64_t pwritev(int fd, intptr_t iovecs, int count, int64_t offset)',
  (linked) => {
    pwritev = linked;
  },
);
export function rawPwritev(fd: number, iovecs: number, count: number, offset: number): number {
  const result = pwritev(fd, iovecs, count, offset);
  return result < 0 ? -(errno[0] as number) : result;
}

/** RWF_ flags of preadv2(2), include/uapi/linux/fs.h. */
export const RWF = { hipri: 1, dsync: 2, sync: 4, nowait: 8, append: 16 } as const;

// ABI: ssize_t preadv2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags); preadv2(2). Offset −1 is
// the position of the file, and what descriptors without one take.
let preadv2 = declareRaw<[fd: number, iovecs: number, count: number, offset: number, flags: number]>(
  'int64_t preadv2(int fd, intptr_t iovecs, int count, int64_t offset, int flags)',
  (linked) => {
    preadv2 = linked;
  },
);
export function rawPreadv2(fd: number, iovecs: number, count: number, offset: number, flags: number): number {
  const result = preadv2(fd, iovecs, count, offset, flags);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t pwritev2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags); pwritev2(2).
let pwritev2 = declareRaw<[fd: number, iovecs: number, count: number, offset: number, flags: number]>(
  'int64_t pwritev2(int fd, intptr_t iovecs, int count, int64_t offset, int flags)',
  (linked) => {
    pwritev2 = linked;
  },
);
export function rawPwritev2(fd: number, iovecs: number, count: number, offset: number, flags: number): number {
  const result = pwritev2(fd, iovecs, count, offset, flags);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: int fdatasync(int fd); fsync(2).
let fdatasync = declareRaw<[fd: number]>('int fdatasync(int fd)', (linked) => {
  fdatasync = linked;
});
export function rawFdatasync(fd: number): number {
  const result = fdatasync(fd);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: int fsync(int fd); fsync(2).
let fsync = declareRaw<[fd: number]>('int fsync(int fd)', (linked) => {
  fsync = linked;
});
export function rawFsync(fd: number): number {
  const result = fsync(fd);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: int fallocate(int fd, int mode, off_t offset, off_t len); fallocate(2).
let fallocate = declareRaw<[fd: number, mode: number, offset: number, length: number]>(
  'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
  (linked) => {
    fallocate = linked;
  },
);
export function rawFallocate(fd: number, mode: number, offset: number, length: number): number {
  const result = fallocate(fd, mode, offset, length);
  return result < 0 ? -(errno[0] as number) : result;
}

/** include/linux/socket.h */
export const MSG = { peek: 2, dontwait: 0x40, waitall: 0x100, nosignal: 0x4000 } as const;

// ABI: ssize_t recv(int sockfd, void *buf, size_t len, int flags); recv(2).
let recv = declareRaw<[fd: number, address: number, length: number, flags: number]>(
  'int64_t recv(int fd, intptr_t address, size_t length, int flags)',
  (linked) => {
    recv = linked;
  },
);
export function rawRecv(fd: number, address: number, length: number, flags: number): number {
  const result = recv(fd, address, length, flags);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t send(int sockfd, const void *buf, size_t len, int flags); send(2).
let send = declareRaw<[fd: number, address: number, length: number, flags: number]>(
  'int64_t send(int fd, intptr_t address, size_t length, int flags)',
  (linked) => {
    send = linked;
  },
);
export function rawSend(fd: number, address: number, length: number, flags: number): number {
  const result = send(fd, address, length, flags);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t recvmsg(int sockfd, struct msghdr *msg, int flags); recvmsg(2). The msghdr, and all it points to, are
// ours and are written during the call. Descriptors received are the caller's.
let recvmsg = declareRaw<[fd: number, message: number, flags: number]>(
  'int64_t recvmsg(int fd, intptr_t message, int flags)',
  (linked) => {
    recvmsg = linked;
  },
);
export function rawRecvmsg(fd: number, message: number, flags: number): number {
  const result = recvmsg(fd, message, flags);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: ssize_t sendmsg(int sockfd, const struct msghdr *msg, int flags); sendmsg(2). Nothing is kept; the kernel
// duplicates descriptors that are passed.
let sendmsg = declareRaw<[fd: number, message: number, flags: number]>(
  'int64_t sendmsg(int fd, intptr_t message, int flags)',
  (linked) => {
    sendmsg = linked;
  },
);
export function rawSendmsg(fd: number, message: number, flags: number): number {
  const result = sendmsg(fd, message, flags);
  return result < 0 ? -(errno[0] as number) : result;
}

// ABI: void *memmove(void *dest, const void *src, size_t n); memmove(3). Both ranges are mapped while it runs.
let memmove = declareRaw<[target: number, source: number, length: number]>(
  'intptr_t memmove(intptr_t target, intptr_t source, size_t length)',
  (linked) => {
    memmove = linked;
  },
);
/** Copies between mapped ranges without a view of either: about 30 ns, where two views cost more and leave garbage. */
export function copyMemory(target: number, source: number, length: number): void {
  memmove(target, source, length);
}
