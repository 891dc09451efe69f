// What the core needs from the kernel and Node does not offer. The implementation over system calls is @runtime/sdk/linux;
// without one the core falls back to what /proc tells.

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface NativeHost {
  /** SO_PEERCRED of a connected Unix socket, unix(7). */
  peerCredentials(fd: number): PeerCredentials;
  /** A descriptor that names one process and never another, pidfd_open(2). @throws ESRCH when it is gone. */
  pidfdOpen(pid: number): number;
  /** pidfd_send_signal(2). False when the process is gone. */
  pidfdSignal(pidfd: number, signal: NodeJS.Signals): boolean;
  /** Calls `fn` once, when `fd` becomes readable (a pidfd does when its process ends). */
  onReadable(fd: number, fn: () => void): Disposable;
  /** Sets close-on-exec on every descriptor above 2, so that children get only what they are given, close_range(2). */
  sealDescriptors?(): void;
  /** prctl(PR_SET_PDEATHSIG) of this process; a no-op is not allowed: throws when it cannot be set. */
  dieWithParent(signal: NodeJS.Signals): void;
}
