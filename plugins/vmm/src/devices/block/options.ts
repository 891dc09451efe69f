// What a block device can be told. Checked by hand: the device process starts in a moment and stays small, for which a
// schema library is too much.

import type { Schema, SchemaIssue } from '@runtime/core';
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
  discard: true,
  direct: false,
};

const MAX_QUEUES = 16;
const MIN_QUEUE_SIZE = 4;
/** A chain may be as long as its queue, and readv(2) takes no more (IOV_MAX). */
const MAX_QUEUE_SIZE = 1024;

type Rule = readonly [expected: string, isRight: (value: unknown) => boolean];

const isInteger = (value: unknown): value is number => Number.isInteger(value);
const within = (value: unknown, from: number, to: number): value is number =>
  isInteger(value) && value >= from && value <= to;
const isPowerOfTwo = (n: number): boolean => (n & (n - 1)) === 0;
const flag: Rule = ['must be true or false', (value) => typeof value === 'boolean'];

const RULES: Readonly<Record<keyof BlockOptions, Rule>> = {
  readonly: flag,
  serial: [
    `must be a text of at most ${ID_BYTES} bytes`,
    (value) => typeof value === 'string' && Buffer.byteLength(value) <= ID_BYTES,
  ],
  blockSize: ['must be 512 or 4096', (value) => value === 512 || value === 4096],
  queues: [`must be 1 to ${MAX_QUEUES}`, (value) => within(value, 1, MAX_QUEUES)],
  queueSize: [
    `must be a power of two from ${MIN_QUEUE_SIZE} to ${MAX_QUEUE_SIZE}`,
    (value) => within(value, MIN_QUEUE_SIZE, MAX_QUEUE_SIZE) && isPowerOfTwo(value),
  ],
  format: [`must be ${DISK_FORMATS.join(' or ')}`, (value) => (DISK_FORMATS as readonly unknown[]).includes(value)],
  discard: flag,
  direct: flag,
};

/** What is wrong with them; nothing when all is well. */
function problemsOf(given: Readonly<Record<string, unknown>>): readonly SchemaIssue[] {
  return Object.entries(given).flatMap(([name, value]) => {
    if (!Object.hasOwn(RULES, name)) return [{ message: 'is no option of a block device', path: [name] }];
    const [expected, isRight] = RULES[name as keyof BlockOptions];
    return isRight(value) ? [] : [{ message: expected, path: [name] }];
  });
}

export const blockOptions: Schema<BlockOptions> = {
  '~standard': {
    version: 1,
    vendor: 'runtime',
    validate(value = {}) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        return { issues: [{ message: 'must be an object' }] };
      }
      const entries = Object.entries(value).filter(([, setting]) => setting !== undefined);
      const given = Object.fromEntries(entries) as Readonly<Record<string, unknown>>;
      const issues = problemsOf(given);
      return issues.length > 0 ? { issues } : { value: { ...DEFAULTS, ...given } };
    },
  },
};
