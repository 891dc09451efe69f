// Which store serves an image.

import type { Schema } from '@runtime/core';
import type { Geometry } from './config-layout.ts';
import { type Descriptors, named } from './descriptors.ts';
import { type BlockOptions, blockOptions } from './options.ts';
import { RawStore, rawCapacity } from './raw-store.ts';
import type { BlockStore, StoreContext } from './store.ts';

/** A file system gives out and takes back pages. */
const RAW_GRANULARITY = 4096;

let qcow2: typeof import('./qcow2-format.ts') | undefined;

/** Checks options, and has loaded what they ask for: setting up a device does not wait. */
export const loadingOptions: Schema<BlockOptions> = {
  '~standard': {
    ...blockOptions['~standard'],
    async validate(value) {
      const result = await blockOptions['~standard'].validate(value);
      // A process with a raw disk starts sooner and stays smaller without it.
      if (result.issues === undefined && result.value.format === 'qcow2') qcow2 = await import('./qcow2-format.ts');
      return result;
    },
  },
};

/** The options have passed `loadingOptions`. */
export function geometryOf(options: BlockOptions, fds: Descriptors): Geometry {
  if (options.format === 'qcow2') return loaded().qcow2Geometry(options, fds);
  return { capacity: rawCapacity(named(fds, 'disk'), options.blockSize), granularity: RAW_GRANULARITY };
}

export function openStore(options: BlockOptions, fds: Descriptors, context: StoreContext): BlockStore {
  if (options.format === 'qcow2') return loaded().openQcow2Store(options, fds, context);
  return new RawStore(named(fds, 'disk'), options, context);
}

function loaded(): NonNullable<typeof qcow2> {
  if (qcow2 === undefined) throw new Error('the options of this block device were not checked');
  return qcow2;
}
