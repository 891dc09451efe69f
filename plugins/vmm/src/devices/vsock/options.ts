// What a vsock device can be told.

import type { Schema } from '@runtime/core';
import { checkedOptions, wholeNumber } from '../checked-options.ts';
import { ANY } from './packet.ts';

export interface VsockOptions {
  /** The guest's address, 3 to 0xfffffffe; unique among the VMs of this host. */
  readonly cid: number;
  /** Connections at a time, 1 to 65536. */
  readonly maxConnections: number;
  /** Bytes kept at most for sockets of the host that nobody reads, 1 MiB to 4 GiB. */
  readonly bufferMemory: number;
}

export const DEFAULTS: Omit<VsockOptions, 'cid'> = { maxConnections: 4096, bufferMemory: 256 * 2 ** 20 };

/** 0 to 2 are the hypervisor, this machine and the host. */
const FIRST_CID = 3;

export const vsockOptions: Schema<VsockOptions> = checkedOptions<VsockOptions>(
  'vsock',
  {
    cid: wholeNumber(FIRST_CID, ANY - 1),
    maxConnections: wholeNumber(1, 65_536),
    bufferMemory: wholeNumber(2 ** 20, 2 ** 32),
  },
  DEFAULTS,
);
