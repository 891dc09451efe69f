// Indirect descriptors: a chain in a table of its own, anywhere in the memory of the guest. virtio 1.2 §2.7.5.3, §2.8.7

import type { Chain } from './chain.ts';
import { DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE } from './constants.ts';
import type { GuestMemory, MemoryRegion } from './guest-memory.ts';
import { DESC_BYTES, TWO_32 } from './virtqueue-common.ts';

const NESTED = 'an indirect descriptor is in an indirect table';

/**
 * The region of the table whose address is where that of the next segment of the chain will be, or why there cannot be
 * one. `maximum`: descriptors that it may have.
 */
function findTable(chain: Chain, memory: GuestMemory, length: number, maximum: number): MemoryRegion | string {
  if (length === 0 || length % DESC_BYTES !== 0) return 'the length of its indirect table is no multiple of 16';
  if (length > maximum * DESC_BYTES) return 'its indirect table is too long';
  const region = memory.locate(chain.guest, chain.count, length);
  if (region === undefined) return 'its indirect table is not in one region of the memory of the guest';
  // The driver allocates it, and every allocator aligns to this much.
  if ((chain.guest[chain.count] as number) % 4 !== 0) return 'its indirect table is not aligned';
  return region;
}

/**
 * Of a split ring: descriptors name the next one. The address in signed halves, as for Chain.appendDescriptor(). `undefined`, or why
 * the chain is not sound.
 */
export function appendSplitTable(
  chain: Chain,
  memory: GuestMemory,
  low: number,
  high: number,
  length: number,
  maximum: number,
): string | undefined {
  const address = (low >>> 0) + (high >>> 0) * TWO_32;
  chain.guest[chain.count] = address;
  const region = findTable(chain, memory, length, maximum);
  if (typeof region === 'string') return region;
  const table = region.u32;
  const start = (address - region.guestAddress) / 4;
  const entries = length / DESC_BYTES;
  let index = 0;
  for (let steps = 0; steps < entries; steps += 1) {
    const at = start + index * 4;
    const segmentLow = (table[at] as number) | 0;
    const segmentHigh = (table[at + 1] as number) | 0;
    const bytes = table[at + 2] as number;
    const flagsAndNext = table[at + 3] as number;
    if ((flagsAndNext & DESC_F_INDIRECT) !== 0) return NESTED;
    const why = chain.appendDescriptor(memory, segmentLow, segmentHigh, bytes, (flagsAndNext & DESC_F_WRITE) !== 0);
    if (why !== undefined || (flagsAndNext & DESC_F_NEXT) === 0) return why;
    index = flagsAndNext >>> 16;
    if (index >= entries) return 'its next descriptor is not in the indirect table';
  }
  return 'its descriptors go round in a loop';
}

/** Of a packed ring: of the flags only WRITE means something, and the order is that of the entries. */
export function appendPackedTable(
  chain: Chain,
  memory: GuestMemory,
  low: number,
  high: number,
  length: number,
  maximum: number,
): string | undefined {
  const address = (low >>> 0) + (high >>> 0) * TWO_32;
  chain.guest[chain.count] = address;
  const region = findTable(chain, memory, length, maximum);
  if (typeof region === 'string') return region;
  const table = region.u32;
  const start = (address - region.guestAddress) / 4;
  const end = start + length / 4;
  for (let at = start; at < end; at += 4) {
    const segmentLow = (table[at] as number) | 0;
    const segmentHigh = (table[at + 1] as number) | 0;
    const bytes = table[at + 2] as number;
    const flags = (table[at + 3] as number) >>> 16;
    if ((flags & DESC_F_INDIRECT) !== 0) return NESTED;
    const why = chain.appendDescriptor(memory, segmentLow, segmentHigh, bytes, (flags & DESC_F_WRITE) !== 0);
    if (why !== undefined) return why;
  }
  return undefined;
}
