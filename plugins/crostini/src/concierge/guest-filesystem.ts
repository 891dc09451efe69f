// The file system on the disk of a VM that runs, as maitred offers it.

import type { GuestFilesystem } from '../disks/guest-filesystem.ts';
import type { MaitredClient } from './maitred.ts';

/** Of each call, ms. */
const DEADLINE_MS = 20_000;

/** @param client `undefined`: its guest is not ready */
export function guestFilesystem(client: () => MaitredClient | undefined): GuestFilesystem {
  const call = (): MaitredClient['call'] => {
    const there = client();
    if (there === undefined) throw new Error('its guest is not ready');
    return there.call;
  };
  const options = { deadlineMs: DEADLINE_MS };
  return {
    async resize(bytes) {
      const { status } = await call().ResizeFilesystem({ size: BigInt(bytes) }, options);
      if (status !== 'STARTED') throw new Error(`its file system is not resized: ${status}`);
    },
    async status() {
      const answer = await call().GetResizeStatus({}, options);
      return {
        inProgress: answer.resize_in_progress,
        currentBytes: Number(answer.current_size),
        targetBytes: Number(answer.target_size),
      };
    },
    async bounds() {
      const { minimum_size } = await call().GetResizeBounds({}, options);
      return { minBytes: Number(minimum_size) };
    },
  };
}
