// Reading and writing by address, for paths where every call counts: numbers only, nothing is allocated, nothing throws.
// Each returns what the call returned, or −errno. Addresses are those of mapping.ts or of guest memory; what they name
// must stay mapped until the call returns. Nothing here retries: EINTR, EAGAIN and short counts are the caller's.

import { declareHot, lastErrno } from './call.ts';

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

function outcome(result: number): number {
  return result < 0 ? -lastErrno() : result;
}

// ABI: ssize_t read(int fd, void *buf, size_t count); read(2). The kernel writes to the range during the call.
let read = declareHot<[fd: number, address: number, length: number]>(
  'int64_t read(int fd, intptr_t address, size_t length)',
  (linked) => {
    read = linked;
  },
);
export function rawRead(fd: number, address: number, length: number): number {
  return outcome(read(fd, address, length));
}

// ABI: ssize_t write(int fd, const void *buf, size_t count); write(2). The kernel reads the range during the call.
let write = declareHot<[fd: number, address: number, length: number]>(
  'int64_t write(int fd, intptr_t address, size_t length)',
  (linked) => {
    write = linked;
  },
);
export function rawWrite(fd: number, address: number, length: number): number {
  return outcome(write(fd, address, length));
}

// ABI: ssize_t pread(int fd, void *buf, size_t count, off_t offset); pread(2). off_t is 64-bit on all we run on.
let pread = declareHot<[fd: number, address: number, length: number, offset: number]>(
  'int64_t pread(int fd, intptr_t address, size_t length, int64_t offset)',
  (linked) => {
    pread = linked;
  },
);
export function rawPread(fd: number, address: number, length: number, offset: number): number {
  return outcome(pread(fd, address, length, offset));
}

// ABI: ssize_t pwrite(int fd, const void *buf, size_t count, off_t offset); pwrite(2).
let pwrite = declareHot<[fd: number, address: number, length: number, offset: number]>(
  'int64_t pwrite(int fd, intptr_t address, size_t length, int64_t offset)',
  (linked) => {
    pwrite = linked;
  },
);
export function rawPwrite(fd: number, address: number, length: number, offset: number): number {
  return outcome(pwrite(fd, address, length, offset));
}

// ABI: ssize_t readv(int fd, const struct iovec *iov, int iovcnt); readv(2). The iovecs (u64 base, u64 length) and what
// they name are used during the call.
let readv = declareHot<[fd: number, iovecs: number, count: number]>(
  'int64_t readv(int fd, intptr_t iovecs, int count)',
  (linked) => {
    readv = linked;
  },
);
export function rawReadv(fd: number, iovecs: number, count: number): number {
  return outcome(readv(fd, iovecs, count));
}

// ABI: ssize_t writev(int fd, const struct iovec *iov, int iovcnt); writev(2).
let writev = declareHot<[fd: number, iovecs: number, count: number]>(
  'int64_t writev(int fd, intptr_t iovecs, int count)',
  (linked) => {
    writev = linked;
  },
);
export function rawWritev(fd: number, iovecs: number, count: number): number {
  return outcome(writev(fd, iovecs, count));
}

// ABI: ssize_t preadv(int fd, const struct iovec *iov, int iovcnt, off_t offset); preadv(2).
let preadv = declareHot<[fd: number, iovecs: number, count: number, offset: number]>(
  'int64_t preadv(int fd, intptr_t iovecs, int count, int64_t offset)',
  (linked) => {
    preadv = linked;
  },
);
export function rawPreadv(fd: number, iovecs: number, count: number, offset: number): number {
  return outcome(preadv(fd, iovecs, count, offset));
}

// ABI: ssize_t pwritev(int fd, const struct iovec *iov, int iovcnt, off_t offset); pwritev(2).
let pwritev = declareHot<[fd: number, iovecs: number, count: number, offset: number]>(
  'int64_t pwritev(int fd, intptr_t iovecs, int count, int64_t offset)',
  (linked) => {
    pwritev = linked;
  },
);
export function rawPwritev(fd: number, iovecs: number, count: number, offset: number): number {
  return outcome(pwritev(fd, iovecs, count, offset));
}

/** RWF_ flags of preadv2(2), include/uapi/linux/fs.h. */
export const RWF = { hipri: 1, dsync: 2, sync: 4, nowait: 8, append: 16 } as const;

// ABI: ssize_t preadv2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags); preadv2(2). Offset −1 is
// the position of the file, and what descriptors without one take.
let preadv2 = declareHot<[fd: number, iovecs: number, count: number, offset: number, flags: number]>(
  'int64_t preadv2(int fd, intptr_t iovecs, int count, int64_t offset, int flags)',
  (linked) => {
    preadv2 = linked;
  },
);
export function rawPreadv2(fd: number, iovecs: number, count: number, offset: number, flags: number): number {
  return outcome(preadv2(fd, iovecs, count, offset, flags));
}

// ABI: ssize_t pwritev2(int fd, const struct iovec *iov, int iovcnt, off_t offset, int flags); pwritev2(2).
let pwritev2 = declareHot<[fd: number, iovecs: number, count: number, offset: number, flags: number]>(
  'int64_t pwritev2(int fd, intptr_t iovecs, int count, int64_t offset, int flags)',
  (linked) => {
    pwritev2 = linked;
  },
);
export function rawPwritev2(fd: number, iovecs: number, count: number, offset: number, flags: number): number {
  return outcome(pwritev2(fd, iovecs, count, offset, flags));
}

// ABI: int fdatasync(int fd); fsync(2).
let fdatasync = declareHot<[fd: number]>('int fdatasync(int fd)', (linked) => {
  fdatasync = linked;
});
export function rawFdatasync(fd: number): number {
  return outcome(fdatasync(fd));
}

// ABI: int fsync(int fd); fsync(2).
let fsync = declareHot<[fd: number]>('int fsync(int fd)', (linked) => {
  fsync = linked;
});
export function rawFsync(fd: number): number {
  return outcome(fsync(fd));
}

// ABI: int fallocate(int fd, int mode, off_t offset, off_t len); fallocate(2).
let fallocate = declareHot<[fd: number, mode: number, offset: number, length: number]>(
  'int fallocate(int fd, int mode, int64_t offset, int64_t length)',
  (linked) => {
    fallocate = linked;
  },
);
export function rawFallocate(fd: number, mode: number, offset: number, length: number): number {
  return outcome(fallocate(fd, mode, offset, length));
}

/** include/linux/socket.h */
export const MSG = { peek: 2, dontwait: 0x40, waitall: 0x100, nosignal: 0x4000 } as const;

// ABI: ssize_t recv(int sockfd, void *buf, size_t len, int flags); recv(2).
let recv = declareHot<[fd: number, address: number, length: number, flags: number]>(
  'int64_t recv(int fd, intptr_t address, size_t length, int flags)',
  (linked) => {
    recv = linked;
  },
);
export function rawRecv(fd: number, address: number, length: number, flags: number): number {
  return outcome(recv(fd, address, length, flags));
}

// ABI: ssize_t send(int sockfd, const void *buf, size_t len, int flags); send(2).
let send = declareHot<[fd: number, address: number, length: number, flags: number]>(
  'int64_t send(int fd, intptr_t address, size_t length, int flags)',
  (linked) => {
    send = linked;
  },
);
export function rawSend(fd: number, address: number, length: number, flags: number): number {
  return outcome(send(fd, address, length, flags));
}

// ABI: ssize_t recvmsg(int sockfd, struct msghdr *msg, int flags); recvmsg(2). The msghdr, and all it points to, are
// ours and are written during the call. Descriptors received are the caller's.
let recvmsg = declareHot<[fd: number, message: number, flags: number]>(
  'int64_t recvmsg(int fd, intptr_t message, int flags)',
  (linked) => {
    recvmsg = linked;
  },
);
export function rawRecvmsg(fd: number, message: number, flags: number): number {
  return outcome(recvmsg(fd, message, flags));
}

// ABI: ssize_t sendmsg(int sockfd, const struct msghdr *msg, int flags); sendmsg(2). Nothing is kept; the kernel
// duplicates descriptors that are passed.
let sendmsg = declareHot<[fd: number, message: number, flags: number]>(
  'int64_t sendmsg(int fd, intptr_t message, int flags)',
  (linked) => {
    sendmsg = linked;
  },
);
export function rawSendmsg(fd: number, message: number, flags: number): number {
  return outcome(sendmsg(fd, message, flags));
}

// ABI: void *memmove(void *dest, const void *src, size_t n); memmove(3). Both ranges are mapped while it runs.
let memmove = declareHot<[target: number, source: number, length: number]>(
  'intptr_t memmove(intptr_t target, intptr_t source, size_t length)',
  (linked) => {
    memmove = linked;
  },
);
/** Copies between mapped ranges without a view of either: about 30 ns, where two views cost more and leave garbage. */
export function copyMemory(target: number, source: number, length: number): void {
  memmove(target, source, length);
}
