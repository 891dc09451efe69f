// Which store serves an image.

import { imageFile } from '../../disk/image-file.ts';
import type { ChainEntry } from '../../disk/layers.ts';
import { readHeader } from '../../disk/qcow2/header.ts';
import { Qcow2Store } from '../../disk/qcow2/store.ts';
import type { Geometry } from './config-layout.ts';
import type { BlockOptions } from './options.ts';
import { SECTOR } from './protocol.ts';
import { RawStore, rawCapacity } from './raw-store.ts';
import type { BlockStore, StoreContext } from './store.ts';

/** A file system gives out and takes back pages. */
const RAW_GRANULARITY = 4096;

type Descriptors = Readonly<Record<string, number>>;

export function geometryOf(options: BlockOptions, fds: Descriptors): Geometry {
  const disk = named(fds, 'disk');
  if (options.format === 'raw') {
    return { capacity: rawCapacity(disk, options.blockSize), granularity: RAW_GRANULARITY };
  }
  const { size, clusterBits } = readHeader(imageFile(disk, 'disk'));
  const unit = Math.max(SECTOR, options.blockSize);
  return { capacity: size - (size % unit), granularity: 2 ** clusterBits };
}

export function openStore(options: BlockOptions, fds: Descriptors, context: StoreContext): BlockStore {
  if (options.format === 'raw') return new RawStore(named(fds, 'disk'), options, context);
  const backing = options.backing.map((format, i) => ({ format, fd: named(fds, `backing${i}`), name: `backing${i}` }));
  const chain: readonly ChainEntry[] = [{ format: 'qcow2', fd: named(fds, 'disk'), name: 'disk' }, ...backing];
  return new Qcow2Store(chain, options, context);
}

function named(fds: Descriptors, name: string): number {
  const fd = fds[name];
  if (fd === undefined) throw new TypeError(`this block device needs a descriptor called "${name}"`);
  return fd;
}
