// System calls of Linux. koffi is loaded at the first call.

export { FdSocket, type FdSocketOptions, MAX_FDS_PER_MESSAGE, type Received } from './ancillary.ts';
export { isLinuxError, LinuxError } from './call.ts';
export { sealDescriptors } from './descriptors.ts';
export { drainEventfd, eventfd, signalEventfd } from './eventfd.ts';
export { linuxHost } from './host.ts';
export {
  IORING_ASYNC_CANCEL,
  IORING_CQE_F_MORE,
  IORING_FSYNC_DATASYNC,
  IORING_OP,
  IORING_POLL_ADD_MULTI,
  IOSQE,
  IoUring,
} from './io-uring.ts';
export {
  type Advice,
  MAX_MAPPING,
  type MapFileOptions,
  Mapping,
  madvise,
  mapAnonymous,
  mapFile,
  PAGE_SIZE,
} from './mapping.ts';
export { addSeals, type MemfdOptions, memfdCreate, type Seal, sealsOf } from './memfd.ts';
export { pidfdOpen, pidfdSendSignal } from './pidfd.ts';
export { onReadable, POLL, pollFds, pollOne, waitReadable } from './poll.ts';
export { setChildSubreaper, setNoNewPrivileges, setParentDeathSignal } from './prctl.ts';
export {
  ERRNO,
  errnoName,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  FALLOC_ZERO_RANGE,
  MSG,
  RWF,
  rawFallocate,
  rawFdatasync,
  rawFsync,
  rawPread,
  rawPreadv,
  rawPreadv2,
  rawPwrite,
  rawPwritev,
  rawPwritev2,
  rawRead,
  rawReadv,
  rawRecv,
  rawRecvmsg,
  rawSend,
  rawSendmsg,
  rawWrite,
  rawWritev,
} from './raw-io.ts';
export { peerCredentials } from './socket-credentials.ts';
export {
  acceptUnix,
  connectUnix,
  type ListenOptions,
  listenUnix,
  type SocketOption,
  type SocketType,
  setSocketOption,
  shutdownSocket,
  socketError,
  socketOption,
  socketPair,
} from './unix-socket.ts';
export { type Interest, type Readiness, type Watch, watch } from './watch.ts';
