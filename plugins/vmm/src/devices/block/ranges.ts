// The ranges of DISCARD and WRITE_ZEROES, virtio 1.2 §5.2.6.

import type { Chain } from '@runtime/sdk/virtio';
import {
  HEADER_BYTES,
  MAX_RANGE_SECTORS,
  MAX_RANGES,
  RANGE_BYTES,
  RANGE_UNMAP,
  RequestType,
  SECTOR,
  Status,
} from './protocol.ts';

/** Ranges of one request that is being carried out. */
export class Ranges {
  count = 0;
  /** The one that is next. */
  next = 0;
  /** Bytes. */
  readonly offset = new Float64Array(MAX_RANGES);
  readonly length = new Float64Array(MAX_RANGES);
  readonly mayUnmap = new Uint8Array(MAX_RANGES);

  /** Takes the ranges of a request. All are checked before the first is carried out. @returns a status */
  parse(chain: Chain, type: number, capacity: number): number {
    const bytes = chain.readableBytes - HEADER_BYTES;
    const count = bytes / RANGE_BYTES;
    if (!Number.isInteger(count) || count < 1 || count > MAX_RANGES) return Status.ioError;
    for (let i = 0; i < count; i++) {
      const at = HEADER_BYTES + i * RANGE_BYTES;
      const sector = chain.readU64(at);
      const sectors = chain.readU32(at + 8);
      const flags = chain.readU32(at + 12);
      const isPlain = flags === 0 || (flags === RANGE_UNMAP && type === RequestType.writeZeroes);
      if (!isPlain) return Status.unsupported;
      // NaN, a sector that is no safe integer, fails the comparison as well.
      if (sectors > MAX_RANGE_SECTORS || !((sector + sectors) * SECTOR <= capacity)) return Status.ioError;
      this.offset[i] = sector * SECTOR;
      this.length[i] = sectors * SECTOR;
      this.mayUnmap[i] = flags;
    }
    this.count = count;
    this.next = 0;
    return Status.ok;
  }
}
