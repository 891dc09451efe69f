// The block device's side of qcow2. Loaded when a disk has this format only.

import { imageFile } from '../../disk/image-file.ts';
import type { ChainEntry } from '../../disk/layers.ts';
import { readHeader } from '../../disk/qcow2/header.ts';
import { Qcow2Store } from '../../disk/qcow2/store.ts';
import type { Geometry } from './config-layout.ts';
import { type Descriptors, named } from './descriptors.ts';
import type { BlockOptions } from './options.ts';
import type { BlockStore, StoreContext } from './store.ts';

export function qcow2Geometry({ blockSize }: BlockOptions, fds: Descriptors): Geometry {
  const { size, clusterBits } = readHeader(imageFile(named(fds, 'disk'), 'disk'));
  return { capacity: size - (size % blockSize), granularity: 2 ** clusterBits };
}

export function openQcow2Store(options: BlockOptions, fds: Descriptors, context: StoreContext): BlockStore {
  const backing = options.backing.map((format, i) => ({ format, fd: named(fds, `backing${i}`), name: `backing${i}` }));
  const chain: readonly ChainEntry[] = [{ format: 'qcow2', fd: named(fds, 'disk'), name: 'disk' }, ...backing];
  return new Qcow2Store(chain, options, context);
}
