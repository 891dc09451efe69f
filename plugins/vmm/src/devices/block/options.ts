// What a block device can be told.

import type { Schema } from '@runtime/core';
import { checkedOptions, flag, oneOf, wholeNumber } from '../checked-options.ts';
import { ID_BYTES } from './protocol.ts';

export const DISK_FORMATS = ['raw', 'qcow2'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

export interface BlockOptions {
  /** The guest can only read. */
  readonly readonly: boolean;
  /** What the guest finds in /sys/block/vdX/serial; at most 20 bytes. */
  readonly serial: string;
  /** Bytes, 512 or 4096: the smallest access that the guest should make. */
  readonly blockSize: number;
  /** Request queues, 1 to 16; one for each CPU of the guest is plenty. */
  readonly queues: number;
  /** Requests in a queue: a power of two from 4 to 1024. */
  readonly queueSize: number;
  /** Never guessed from what is in the image, which the guest writes. */
  readonly format: DiskFormat;
  /** Formats of the files below a qcow2 image, whose descriptors are `backing0`, the next one below it, and so on. */
  readonly backing: readonly DiskFormat[];
  /** What the guest discards is given back to the file system. */
  readonly discard: boolean;
  /** Past the page cache of the host (O_DIRECT). */
  readonly direct: boolean;
}

export const DEFAULTS: BlockOptions = {
  readonly: false,
  serial: '',
  blockSize: 512,
  queues: 1,
  queueSize: 256,
  format: 'raw',
  backing: [],
  discard: true,
  direct: false,
};

const MAX_QUEUES = 16;
/** More than a chain has. */
const MAX_BACKING = 15;
const MIN_QUEUE_SIZE = 4;
/** A chain may be as long as its queue, and readv(2) takes no more (IOV_MAX). */
const MAX_QUEUE_SIZE = 1024;

const isPowerOfTwo = (value: unknown): boolean => ((value as number) & ((value as number) - 1)) === 0;
const [, isQueueSize] = wholeNumber(MIN_QUEUE_SIZE, MAX_QUEUE_SIZE);
const isFormat = (value: unknown): boolean => (DISK_FORMATS as readonly unknown[]).includes(value);

export const blockOptions: Schema<BlockOptions> = checkedOptions<BlockOptions>(
  'block',
  {
    readonly: flag,
    serial: [
      `must be a text of at most ${ID_BYTES} bytes`,
      (value) => typeof value === 'string' && Buffer.byteLength(value) <= ID_BYTES,
    ],
    blockSize: ['must be 512 or 4096', (value) => value === 512 || value === 4096],
    queues: wholeNumber(1, MAX_QUEUES),
    queueSize: [
      `must be a power of two from ${MIN_QUEUE_SIZE} to ${MAX_QUEUE_SIZE}`,
      (value) => isQueueSize(value) && isPowerOfTwo(value),
    ],
    format: oneOf(DISK_FORMATS),
    backing: [
      `must be a list of at most ${MAX_BACKING} formats`,
      (value) => Array.isArray(value) && value.length <= MAX_BACKING && value.every(isFormat),
    ],
    discard: flag,
    direct: flag,
  },
  DEFAULTS,
  ({ format, direct, backing }) => {
    if (format === 'raw' && backing.length > 0) return 'a raw image has no backing files';
    if (format === 'qcow2' && direct) return 'direct I/O is for raw images';
    return undefined;
  },
);
