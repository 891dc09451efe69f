// Images: kernels, initial file systems and root file systems of guests, made of Debian packages.

export { type AptSource, debianMirrors, type Mirrors, parseDeb822, readAptSources } from './apt-sources.ts';
export { type BaseOptions, ensureBase, type GuestBase, guestModules } from './base.ts';
export {
  ensureMade,
  hashOf,
  imageCache,
  type OnProgress,
  type Progress,
  temporaryBeside,
  writeWhole,
} from './cache.ts';
export { type CpioEntry, writeCpio } from './cpio.ts';
export { elfNeeds } from './elf.ts';
export { buildInitramfs, collectPrograms, type InitramfsSpec } from './initramfs.ts';
export { bootableKernel, type GuestKernel, type KernelFlavour } from './kernel.ts';
export { collectModules, type Module, moduleName, withoutSignature } from './modules.ts';
export { Archive, type DebianPackage, debianArchitecture, GUEST_SUITE } from './packages.ts';
export { ensureRootfs, makeErofs, ROOTFS_BASE, type RootfsExtra, type RootfsOptions } from './rootfs.ts';
export { type RunOptions, run, type Tool } from './tool.ts';
export { appendVerity, readVerity, type VerityImage, verifyVerity } from './verity.ts';
