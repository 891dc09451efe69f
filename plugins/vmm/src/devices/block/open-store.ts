// Which store serves an image.

import type { Geometry } from './config-layout.ts';
import type { BlockOptions } from './options.ts';
import { RawStore, rawCapacity } from './raw-store.ts';
import type { BlockStore, StoreContext } from './store.ts';

/** A file system gives out and takes back pages. */
const RAW_GRANULARITY = 4096;

type Descriptors = Readonly<Record<string, number>>;

function diskOf(fds: Descriptors): number {
  const { disk } = fds;
  if (disk === undefined) throw new TypeError('a block device needs a descriptor called "disk"');
  return disk;
}

export function geometryOf(options: BlockOptions, fds: Descriptors): Geometry {
  return { capacity: rawCapacity(diskOf(fds), options.blockSize), granularity: RAW_GRANULARITY };
}

export function openStore(options: BlockOptions, fds: Descriptors, context: StoreContext): BlockStore {
  return new RawStore(diskOf(fds), options, context);
}
