// What the core needs of Linux, without its cost at start: the files behind it, about half a millisecond each, are
// loaded when the first of these is called.

import { createRequire } from 'node:module';
import type { NativeHost } from '@runtime/core';

const require = createRequire(import.meta.url);
// Sources run as they are during development, and compiled in a package.
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

/** For `createRuntime({ native: linuxHost })`. */
export const linuxHost: NativeHost = {
  peerCredentials: (fd) => load<typeof import('./socket-credentials.ts')>('socket-credentials').peerCredentials(fd),
  pidfdOpen: (pid) => load<typeof import('./pidfd.ts')>('pidfd').pidfdOpen(pid),
  pidfdSignal: (pidfd, signal) => load<typeof import('./pidfd.ts')>('pidfd').pidfdSendSignal(pidfd, signal),
  onReadable: (fd, fn) => load<typeof import('./poll.ts')>('poll').onReadable(fd, fn),
  sealDescriptors: () => load<typeof import('./descriptors.ts')>('descriptors').sealDescriptors(),
  dieWithParent: (signal) => load<typeof import('./prctl.ts')>('prctl').setParentDeathSignal(signal),
};

function load<T>(name: string): T {
  return require(`./${name}.${extension}`) as T;
}
