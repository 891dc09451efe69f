// What the core needs of Linux, without its cost at start: the files behind it, about half a millisecond each, are
// loaded when the first of these is called.

import { createRequire } from 'node:module';
import type { NativeHost } from '@runtime/core';

type Linux = typeof import('./index.ts');

let loaded: Linux | undefined;
function linux(): Linux {
  // Sources run as they are during development, and compiled in a package.
  const file = import.meta.url.endsWith('.ts') ? './index.ts' : './index.js';
  loaded ??= createRequire(import.meta.url)(file) as Linux;
  return loaded;
}

/** For `createRuntime({ native: linuxHost })`. */
export const linuxHost: NativeHost = {
  peerCredentials: (fd) => linux().peerCredentials(fd),
  pidfdOpen: (pid) => linux().pidfdOpen(pid),
  pidfdSignal: (pidfd, signal) => linux().pidfdSendSignal(pidfd, signal),
  onReadable: (fd, fn) => linux().onReadable(fd, fn),
  sealDescriptors: () => linux().sealDescriptors(),
  dieWithParent: (signal) => linux().setParentDeathSignal(signal),
};
