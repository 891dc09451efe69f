// System calls of Linux. Nothing is loaded before the first call.

import type { NativeHost } from '@runtime/core';
import { sealDescriptors } from './descriptors.ts';
import { pidfdOpen, pidfdSendSignal } from './pidfd.ts';
import { onReadable } from './poll.ts';
import { setParentDeathSignal } from './prctl.ts';
import { peerCredentials } from './socket-credentials.ts';

export { isLinuxError, LinuxError } from './call.ts';
export { sealDescriptors } from './descriptors.ts';
export { pidfdOpen, pidfdSendSignal } from './pidfd.ts';
export { onReadable } from './poll.ts';
export { setChildSubreaper, setNoNewPrivileges, setParentDeathSignal } from './prctl.ts';
export { peerCredentials } from './socket-credentials.ts';

/** For `createRuntime({ native: linuxHost })`. */
export const linuxHost: NativeHost = {
  peerCredentials,
  pidfdOpen,
  pidfdSignal: pidfdSendSignal,
  onReadable,
  sealDescriptors,
  dieWithParent: setParentDeathSignal,
};
