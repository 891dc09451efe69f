import { isRuntimeError } from '@runtime/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mapAnonymous } from '../linux/mapping.ts';
import { DirtyLog } from './dirty-log.ts';
import { GuestMemory, type MemoryRegionSpec } from './guest-memory.ts';

const spec = (over: Partial<MemoryRegionSpec> = {}): Omit<MemoryRegionSpec, 'mapping'> => {
  return { guestAddress: 0, size: 0x1000, userAddress: 0x7000_0000, mappingOffset: 0, ...over };
};

test('finds what lies in one region, and nothing else', () => {
  using mapping = mapAnonymous(0x8000);
  // [start, size] of regions that may touch, with gaps now and then.
  const layout = fc.array(fc.tuple(fc.nat({ max: 3 }), fc.integer({ min: 1, max: 16 })), {
    minLength: 1,
    maxLength: 6,
  });
  const asks = fc.array(fc.tuple(fc.nat({ max: 1200 }), fc.nat({ max: 200 })), { maxLength: 50 });
  fc.assert(
    fc.property(layout, asks, (parts, questions) => {
      let at = 0;
      const specs = parts.map(([gap, eighths], i): MemoryRegionSpec => {
        const guestAddress = at + gap * 8;
        at = guestAddress + eighths * 8;
        return { guestAddress, size: eighths * 8, userAddress: 0x10_0000 - i * 0x1000, mappingOffset: 0, mapping };
      });
      const memory = GuestMemory.create(specs.toReversed());
      expect(memory.regions.map(({ guestAddress }) => guestAddress)).toEqual(specs.map((one) => one.guestAddress));
      for (const [address, length] of questions) {
        if (length === 0) continue;
        const right = specs.find(
          (one) => address >= one.guestAddress && address + length <= one.guestAddress + one.size,
        );
        expect(memory.find(address, length)?.guestAddress).toBe(right?.guestAddress);
        if (right === undefined) continue;
        const user = right.userAddress + address - right.guestAddress;
        expect(memory.findUser(user, length)?.guestAddress).toBe(right.guestAddress);
      }
    }),
  );
});

test('knows nothing where there is nothing', () => {
  expect(GuestMemory.EMPTY.find(0, 1)).toBeUndefined();
  expect(GuestMemory.EMPTY.findUser(0, 1)).toBeUndefined();
  using mapping = mapAnonymous(0x1000);
  const memory = GuestMemory.create([{ ...spec({ guestAddress: 0x1000 }), mapping }]);
  for (const [address, length] of [
    [0xfff, 1],
    [0x2000, 1],
    [0x1fff, 2],
    [-1, 1],
    [Number.NaN, 1],
    [2 ** 64, 1],
    [Number.POSITIVE_INFINITY, 1],
  ] as const)
    expect(memory.find(address, length)).toBeUndefined();
  expect(memory.findUser(0x7000_0fff, 2)).toBeUndefined();
});

test('a region shows exactly its bytes', () => {
  using mapping = mapAnonymous(0x1000);
  const memory = GuestMemory.create([{ ...spec({ guestAddress: 0x1000, mappingOffset: 8, size: 14 }), mapping }]);
  const region = memory.find(0x1000, 14);
  expect(region).toMatchObject({ hostAddress: mapping.address + 8 });
  expect([region?.u8.length, region?.u16.length, region?.u32.length]).toEqual([14, 7, 3]);
  (region as { u32: Uint32Array }).u32[1] = 0xff;
  expect(new Uint8Array(mapping.buffer)[12]).toBe(0xff);
});

test.each<[string, Partial<MemoryRegionSpec>[]]>([
  ['overlap', [{}, { guestAddress: 0xff8 }]],
  ['are the same twice', [{}, {}]],
  ['are not aligned', [{ guestAddress: 4 }]],
  ['are not aligned in their file', [{ mappingOffset: 4, size: 8 }]],
  ['are larger than their file', [{ size: 0x1001 }]],
  ['begin past the end of their file', [{ mappingOffset: 0x1000, size: 8 }]],
  ['have no bytes', [{ size: 0 }]],
  ['are at no whole address', [{ guestAddress: 0.5 }]],
  ['are below 0', [{ guestAddress: -8 }]],
  ['are above 2^53', [{ guestAddress: 2 ** 53 }]],
  ['end above 2^53', [{ guestAddress: 2 ** 53 - 8 }]],
  ['have a front end address above 2^53', [{ userAddress: 2 ** 60 }]],
  ['are very many', Array.from({ length: 513 }, (_, i) => ({ guestAddress: i * 0x1000, size: 8 }))],
])('regions that %s are refused', (_why, overs) => {
  using mapping = mapAnonymous(0x1000);
  try {
    GuestMemory.create(overs.map((over) => ({ ...spec(over), mapping })));
    expect.unreachable();
  } catch (e) {
    expect(isRuntimeError(e, 'SDK_ERR_VIRTIO_MEMORY')).toBe(true);
  }
});

test('the dirty log has a bit for each page that was touched', () => {
  using mapping = mapAnonymous(0x1000);
  const log = new DirtyLog(mapping, 16, 4);
  const bytes = new Uint8Array(mapping.buffer, 16, 5);
  log.mark(0x1fff, 2);
  expect([...bytes]).toEqual([0b110, 0, 0, 0, 0]);
  log.mark(0x8000, 0x8000);
  log.mark(0x1_0000, 0);
  expect([...bytes]).toEqual([0b110, 0xff, 0, 0, 0]);
  // What it does not cover is left alone.
  log.mark(0x1_f000, 0x1_0000_0000);
  expect([...bytes]).toEqual([0b110, 0xff, 0, 0x80, 0]);
});
