import { closeSync } from 'node:fs';

/** Closes what may not be open (−1), or not be ours to complain about. */
export function closeFd(fd: number): void {
  if (fd < 0) return;
  try {
    closeSync(fd);
  } catch {
    // close(2) lets go of the descriptor also when it fails.
  }
}
