// Images: kernels, initial file systems and root file systems of guests, made of Debian packages.

export { type BaseOptions, ensureBase, type GuestBase } from './base.ts';
export type { OnProgress, Progress } from './cache.ts';
export { imageCache } from './cache.ts';
export { type DefaultGuest, ensureDefaultGuest, GUEST_PARAMS } from './default-guest.ts';
export { CHECK_PREFIX, UP_PREFIX } from './guest-init.ts';
export { bootableKernel, type KernelFlavour } from './kernel.ts';
export { ensureRootfs, type RootfsOptions } from './rootfs.ts';
