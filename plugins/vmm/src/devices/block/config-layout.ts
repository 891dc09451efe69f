// struct virtio_blk_config, virtio 1.2 §5.2.4, and the features that say which of its fields count.

import type { BlockOptions } from './options.ts';
import { Feature, MAX_RANGE_SECTORS, MAX_RANGES, SECTOR } from './protocol.ts';

/** Up to and with write_zeroes_may_unmap and its padding; secure erase and zones are not offered. */
const CONFIG_BYTES = 60;

const Offset = {
  capacity: 0,
  segMax: 12,
  blkSize: 20,
  physicalBlockExp: 24,
  minIoSize: 26,
  optIoSize: 28,
  writeback: 32,
  numQueues: 34,
  maxDiscardSectors: 36,
  maxDiscardSeg: 40,
  discardSectorAlignment: 44,
  maxWriteZeroesSectors: 48,
  maxWriteZeroesSeg: 52,
  writeZeroesMayUnmap: 56,
} as const;

/** A page of the host's page cache; writes of less make it read first. */
const HOST_BLOCK = 4096;
const TWO_32 = 2 ** 32;

/** What depends on the image. */
export interface Geometry {
  /** Bytes, a multiple of 512. */
  readonly capacity: number;
  /** Bytes, a power of two: what the image gives out and takes back at a time. */
  readonly granularity: number;
}

export function featuresOf(options: BlockOptions): readonly number[] {
  const features: number[] = [
    Feature.segMax,
    Feature.blkSize,
    Feature.flush,
    Feature.topology,
    Feature.configWce,
    Feature.lifetime,
  ];
  if (options.queues > 1) features.push(Feature.mq);
  if (options.readonly) return [...features, Feature.readOnly];
  if (options.discard) features.push(Feature.discard);
  return [...features, Feature.writeZeroes];
}

/** Data segments in one request: header and status take two descriptors more. */
export const segMaxOf = (options: BlockOptions): number => options.queueSize - 2;

export function configOf(options: BlockOptions, { capacity, granularity }: Geometry): Uint8Array {
  const bytes = new Uint8Array(CONFIG_BYTES);
  const view = new DataView(bytes.buffer);
  setCapacity(view, capacity);
  view.setUint32(Offset.segMax, segMaxOf(options), true);
  view.setUint32(Offset.blkSize, options.blockSize, true);
  view.setUint8(Offset.physicalBlockExp, Math.log2(HOST_BLOCK / options.blockSize));
  view.setUint16(Offset.minIoSize, HOST_BLOCK / options.blockSize, true);
  view.setUint32(Offset.optIoSize, granularity > HOST_BLOCK ? granularity / options.blockSize : 0, true);
  view.setUint8(Offset.writeback, 1);
  view.setUint16(Offset.numQueues, options.queues, true);
  if (options.readonly) return bytes;
  if (options.discard) {
    view.setUint32(Offset.maxDiscardSectors, MAX_RANGE_SECTORS, true);
    view.setUint32(Offset.maxDiscardSeg, MAX_RANGES, true);
    view.setUint32(Offset.discardSectorAlignment, Math.max(granularity, options.blockSize) / SECTOR, true);
  }
  view.setUint32(Offset.maxWriteZeroesSectors, MAX_RANGE_SECTORS, true);
  view.setUint32(Offset.maxWriteZeroesSeg, MAX_RANGES, true);
  view.setUint8(Offset.writeZeroesMayUnmap, options.discard ? 1 : 0);
  return bytes;
}

/** @param capacity bytes */
export function setCapacity(view: DataView, capacity: number): void {
  const sectors = capacity / SECTOR;
  view.setUint32(Offset.capacity, sectors % TWO_32, true);
  view.setUint32(Offset.capacity + 4, Math.floor(sectors / TWO_32), true);
}

/** The one field that the driver may write. */
export const isWriteback = (config: Uint8Array): boolean => config[Offset.writeback] !== 0;

export function setWriteback(config: Uint8Array, writeback: boolean): void {
  config[Offset.writeback] = writeback ? 1 : 0;
}
