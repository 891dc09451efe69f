// System calls of Linux. koffi is loaded at the first call.

export { FdSocket, type FdSocketOptions, MAX_FDS_PER_MESSAGE, type Received } from './ancillary.ts';
export { isLinuxError, LinuxError } from './call.ts';
export { copyFileRange } from './copy-range.ts';
export {
  accessOf,
  duplicate,
  isCloseOnExec,
  isNonBlocking,
  setCloseOnExec,
  setNonBlocking,
} from './descriptor-flags.ts';
export { sealDescriptors } from './descriptors.ts';
export { drainEventfd, eventfd, signalEventfd } from './eventfd.ts';
export { canLockRange, type LockRange, lockFile, lockRange } from './file-locks.ts';
export { linuxHost } from './host.ts';
export {
  endMachine,
  peekEndedChild,
  type Resource,
  reapChild,
  setClock,
  setHostName,
  setResourceLimit,
} from './init-process.ts';
export { Inotify, type InotifyEvent, type InotifyEventName } from './inotify.ts';
export {
  IORING_ASYNC_CANCEL,
  IORING_CQE_F_MORE,
  IORING_FSYNC_DATASYNC,
  IORING_OP,
  IORING_POLL_ADD_MULTI,
  IOSQE,
  IoUring,
} from './io-uring.ts';
export { blockDeviceSectors, blockDeviceSize, ioctlBuffer, ioctlNumber, ioctlRequest } from './ioctl.ts';
export { addDefaultRoute, removeDefaultRoute, setInterfaceAddress } from './ipv4.ts';
export {
  type LandlockAccess,
  type LandlockOptions,
  type LandlockRule,
  landlockVersion,
  restrictSelf,
} from './landlock.ts';
export { beginLockdown, finishLockdown, LOCKDOWN_VARIABLE, type Lockdown } from './lockdown.ts';
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
export { MOUNT, type MountOptions, mountFilesystem, syncFilesystems, unmount } from './mount.ts';
export { type OpenBeneathOptions, openBeneath, type Resolve } from './open-beneath.ts';
export { pidfdGetfd, pidfdOpen, pidfdSendSignal } from './pidfd.ts';
export { pipe } from './pipe.ts';
export { onReadable, POLL, pollFds, pollOne, waitReadable } from './poll.ts';
export { setChildSubreaper, setNoNewPrivileges, setParentDeathSignal } from './prctl.ts';
export { fillRandom } from './random.ts';
export {
  copyMemory,
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
export { systemCall } from './raw-syscall.ts';
export { installSystemCallFilter } from './seccomp.ts';
export { seekData, seekHole } from './seek.ts';
export { blockSignals, readSignal, type SignalInfo, signalfd } from './signalfd.ts';
export { peerCredentials } from './socket-credentials.ts';
export {
  type SocketOption,
  type SocketType,
  setSocketOption,
  shutdownSocket,
  socketError,
  socketOption,
} from './sockets.ts';
export { type ExtendedStatus, statx } from './statx.ts';
export { passOutputThrough } from './termios.ts';
export {
  describeTap,
  interfaceMac,
  interfaceMtu,
  isInterfaceUp,
  openTap,
  setInterfaceMac,
  setInterfaceMtu,
  setInterfaceUp,
  setTapHeaderSize,
  setTapOffload,
  setTapOwner,
  setTapPersistent,
  setTapQueue,
  type Tap,
  type TapOptions,
  TUN_OFFLOAD,
} from './tun.ts';
export { acceptUnix, connectUnix, type ListenOptions, listenUnix, socketPair } from './unix-socket.ts';
export {
  acceptVsock,
  connectVsock,
  listenVsock,
  localCid,
  VSOCK,
  type VsockAddress,
  type VsockConnection,
  vsockName,
} from './vsock.ts';
export { type Interest, type Readiness, type Watch, watch } from './watch.ts';
