// System calls of Linux. koffi is loaded at the first call.

export { isLinuxError, LinuxError } from './call.ts';
export { sealDescriptors } from './descriptors.ts';
export { linuxHost } from './host.ts';
export { pidfdOpen, pidfdSendSignal } from './pidfd.ts';
export { onReadable } from './poll.ts';
export { setChildSubreaper, setNoNewPrivileges, setParentDeathSignal } from './prctl.ts';
export { peerCredentials } from './socket-credentials.ts';
