// What a user asks of a block device, put as its process takes it.

import { toBytes } from '../../disk/size.ts';
import { errors } from '../../errors.ts';
import type { BlockOptions } from './options.ts';
import { rawCapacity } from './raw-store.ts';

/**
 * `resize`: a size as text (`10G`) becomes bytes, and without one it is that which the file or block device has now.
 * @throws VMM_ERR_DISK_RESIZE, VMM_ERR_DISK_SIZE
 */
export function prepareRequest(
  { format, blockSize }: Pick<BlockOptions, 'format' | 'blockSize'>,
  disk: number,
  method: string,
  params: unknown,
): unknown {
  if (method !== 'resize') return params;
  const given = { ...(params as { readonly capacity?: unknown } | null) };
  if (typeof given.capacity === 'string') return { ...given, capacity: toBytes(given.capacity) };
  if (given.capacity !== undefined) return given;
  if (format === 'qcow2') {
    // Its size is in the image, which only the device may change.
    throw errors.VMM_ERR_DISK_RESIZE({ details: { why: 'a qcow2 image does not grow by itself; name a capacity' } });
  }
  return { ...given, capacity: rawCapacity(disk, blockSize) };
}
