// What a network device can be told.

import { checkedOptions, flag, oneOf, wholeNumber } from '../checked-options.ts';
import { parseMac } from './mac.ts';
import { MAX_PAIRS } from './protocol.ts';

export interface NetOptions {
  /** Six pairs of hexadecimal digits with ":" between; not that of a group. */
  readonly mac: string;
  /** Bytes of a frame without its Ethernet header, 68 to 65521; 0: the driver is not told. */
  readonly mtu: number;
  /** Pairs of queues, 1 to 16; more than one needs a tap with as many queues. */
  readonly queuePairs: number;
  /** Descriptors in a queue: a power of two from 16 to 1024. */
  readonly queueSize: number;
  /** `tap`: descriptors `tap0`, `tap1`, …, one for each pair. `passt`: one stream socket. */
  readonly backend: 'tap' | 'passt';
  /** The tap can leave checksums and segmentation to the other side: TUNSETOFFLOAD has worked. */
  readonly offload: boolean;
}

export const DEFAULTS: Omit<NetOptions, 'mac' | 'backend'> = {
  mtu: 0,
  queuePairs: 1,
  queueSize: 256,
  offload: false,
};

/** IPv4 needs 68 bytes, RFC 791; and what a length of 16 bits can say less the header. */
const MIN_MTU = 68;
const MAX_MTU = 65_521;

const isInteger = (value: unknown): value is number => Number.isInteger(value);

export const netOptions = checkedOptions<NetOptions>(
  'net',
  {
    mac: [
      'must be six pairs of hexadecimal digits with ":" between, not the address of a group',
      (value) => parseMac(value) !== undefined,
    ],
    mtu: [
      `must be 0, or ${MIN_MTU} to ${MAX_MTU}`,
      (value) => value === 0 || (isInteger(value) && value >= MIN_MTU && value <= MAX_MTU),
    ],
    queuePairs: wholeNumber(1, MAX_PAIRS),
    queueSize: [
      'must be a power of two from 16 to 1024',
      (value) => isInteger(value) && value >= 16 && value <= 1024 && (value & (value - 1)) === 0,
    ],
    backend: oneOf(['tap', 'passt']),
    offload: flag,
  },
  DEFAULTS,
  ({ backend, queuePairs, offload }) => {
    if (backend === 'passt' && queuePairs > 1) return 'passt has one pair of queues';
    if (backend === 'passt' && offload) return 'passt takes no unfinished frames';
    return undefined;
  },
);
