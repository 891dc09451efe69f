import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createGuestRam, type GuestRam } from '../testing/virtio/guest-ram.ts';
import { Chain } from './chain.ts';

let ram: GuestRam;
const chain = new Chain(8);

beforeEach(() => {
  // Neighbours for the guest, and a third region apart.
  ram = createGuestRam([
    { guestAddress: 0x1000, size: 0x1000 },
    { guestAddress: 0x2000, size: 0x1000 },
    { guestAddress: 0x1_0000_0000, size: 0x1000 },
  ]);
  chain.clear(5);
});
afterEach(() => ram[Symbol.dispose]());

function append(guest: number, length: number, writable: boolean): string | undefined {
  return chain.append(ram.memory, guest, length, writable);
}

/** Readable: 3 bytes at 0x1001, 13 over the border of two regions, 4 above 4 GiB. Writable: 2, then 9. */
function fill(): void {
  expect(append(0x1001, 3, false)).toBeUndefined();
  expect(append(0x1ffa, 13, false)).toBeUndefined();
  expect(append(0x1_0000_0010, 4, false)).toBeUndefined();
  expect(append(0x2100, 2, true)).toBeUndefined();
  expect(append(0x1100, 9, true)).toBeUndefined();
  for (let i = 0; i < 3; i += 1) ram.bytes(0x1001, 3)[i] = i;
  for (let i = 0; i < 6; i += 1) ram.bytes(0x1ffa, 6)[i] = 3 + i;
  for (let i = 0; i < 7; i += 1) ram.bytes(0x2000, 7)[i] = 9 + i;
  for (let i = 0; i < 4; i += 1) ram.bytes(0x1_0000_0010, 4)[i] = 16 + i;
}

describe('a chain', () => {
  test('tells its segments, those over two regions as two', () => {
    fill();
    expect(chain).toMatchObject({ head: 5, count: 6, readable: 4, readableBytes: 20, writableBytes: 11 });
    expect([...chain.length.subarray(0, 6)]).toEqual([3, 6, 7, 4, 2, 9]);
    expect([...chain.guest.subarray(0, 6)]).toEqual([0x1001, 0x1ffa, 0x2000, 0x1_0000_0010, 0x2100, 0x1100]);
    const [low, middle, high] = ram.files;
    expect([...chain.address.subarray(0, 4)]).toEqual([
      (low?.userAddress ?? 0) + 1,
      (low?.userAddress ?? 0) + 0xffa,
      middle?.userAddress,
      (high?.userAddress ?? 0) + 0x10,
    ]);
  });

  test('is read from anywhere, across its segments', () => {
    fill();
    const all = Array.from({ length: 20 }, (_, i) => i);
    for (let skip = 0; skip <= 20; skip += 1) {
      const target = new Uint8Array(25);
      expect(chain.read(target, skip)).toBe(20 - skip);
      expect([...target.subarray(0, 20 - skip)]).toEqual(all.slice(skip));
      expect(chain.readU8(skip)).toBe(skip < 20 ? skip : Number.NaN);
      expect(chain.readU16(skip)).toBe(skip < 19 ? skip + (skip + 1) * 256 : Number.NaN);
      const word = new Uint8Array(4).map((_, i) => skip + i);
      expect(chain.readU32(skip)).toBe(skip < 17 ? new Uint32Array(word.buffer)[0] : Number.NaN);
    }
    expect(chain.read(new Uint8Array(2), 3)).toBe(2);
    expect(chain.readU8(-1)).toBeNaN();
    expect(chain.readU32(-1)).toBeNaN();
  });

  test('reads 64 bits up to 2^53', () => {
    append(0x1008, 8, false);
    const words = new Uint32Array(ram.bytes(0x1008, 8).slice().buffer);
    const put = (value: bigint): void => {
      words[0] = Number(value & 0xffff_ffffn);
      words[1] = Number(value >> 32n);
      ram.bytes(0x1008, 8).set(new Uint8Array(words.buffer));
    };
    put(2n ** 53n - 1n);
    expect(chain.readU64(0)).toBe(Number.MAX_SAFE_INTEGER);
    put(2n ** 53n);
    expect(chain.readU64(0)).toBeNaN();
    put(2n ** 64n - 1n);
    expect(chain.readU64(0)).toBeNaN();
    expect(chain.readU64(1)).toBeNaN();
  });

  test('is written to, across its segments, and never past its end', () => {
    fill();
    expect(chain.write(Uint8Array.of(1, 2, 3, 4), 1)).toBe(4);
    expect([...ram.bytes(0x2100, 3)]).toEqual([0, 1, 0]);
    expect([...ram.bytes(0x1100, 4)]).toEqual([2, 3, 4, 0]);
    expect(chain.write(new Uint8Array(20).fill(7), 8)).toBe(3);
    expect(chain.write(new Uint8Array(1), 11)).toBe(0);
    expect(chain.writeU8(10, 9)).toBe(true);
    expect(chain.writeU8(11, 9)).toBe(false);
    expect(chain.writeU8(-1, 9)).toBe(false);
    expect(chain.writeU16(10, 0x0102)).toBe(false);
    expect(ram.bytes(0x1108, 1)[0]).toBe(9);
    expect(chain.writeU16(1, 0x0201)).toBe(true);
    expect(chain.writeU32(7, 0x0403_0201)).toBe(true);
    expect(chain.writeU32(8, 0)).toBe(false);
    expect([...ram.bytes(0x1100, 10)]).toEqual([2, 3, 4, 0, 0, 1, 2, 3, 4, 0]);
    expect(chain.writeU64(3, 2 ** 53 - 1)).toBe(true);
    expect([...ram.bytes(0x1101, 8)]).toEqual([255, 255, 255, 255, 255, 255, 31, 0]);
    expect(chain.writeU64(4, 0)).toBe(false);
  });

  test('copies large parts as well as small ones', () => {
    append(0x1800, 0x1000, false);
    append(0x1_0000_0000, 0x1000, true);
    ram.bytes(0x1800, 0x800).fill(1);
    ram.bytes(0x2000, 0x800).fill(2);
    const bytes = new Uint8Array(0x1000);
    expect(chain.read(bytes)).toBe(0x1000);
    expect(chain.write(bytes)).toBe(0x1000);
    expect(ram.bytes(0x1_0000_0000, 0x1000)).toEqual(bytes);
    expect([bytes[0x7ff], bytes[0x800]]).toEqual([1, 2]);
  });

  test('gives a segment itself', () => {
    fill();
    chain.bytes(4)[1] = 77;
    expect(ram.bytes(0x2101, 1)[0]).toBe(77);
    expect(chain.bytes(6)).toHaveLength(0);
  });

  test('fills iovecs for any part of it', () => {
    fill();
    const into = new Uint32Array(20);
    const base = (i: number): number => chain.address[i] as number;
    const vectors = (count: number, at: number): number[][] =>
      Array.from({ length: count }, (_, i) => {
        const [low, high, length] = into.subarray(at + i * 4);
        return [(low as number) + (high as number) * 2 ** 32, length as number];
      });
    expect(chain.iovecs('readable', 1, 10, into, 4)).toBe(3);
    expect(vectors(3, 4)).toEqual([
      [base(0) + 1, 2],
      [base(1), 6],
      [base(2), 2],
    ]);
    expect(chain.iovecs('writable', 2, 9, into, 0)).toBe(1);
    expect(vectors(1, 0)).toEqual([[base(5), 9]]);
    expect(chain.iovecs('readable', 0, 0, into, 0)).toBe(0);
    expect(chain.iovecs('readable', 1, 20, into, 0)).toBe(-1);
    expect(chain.iovecs('writable', 0, 12, into, 0)).toBe(-1);
    expect(chain.iovecs('readable', 0, 20, into, 8)).toBe(-1);
  });

  test('is refused when it is not sound', () => {
    expect(append(0x3000 - 1, 2, false)).toBe('a segment is not in the memory of the guest');
    chain.clear(0);
    expect(append(0xfff, 1, false)).toBe('a segment is not in the memory of the guest');
    expect(append(2 ** 64 - 2048, 1, false)).toBe('a segment is not in the memory of the guest');
    expect(append(0x1000, 1, true)).toBeUndefined();
    expect(append(0x1000, 1, false)).toBe('a segment to read follows one to write');
    chain.clear(0);
    for (let i = 0; i < 8; i += 1) expect(append(0x1000, 1, true)).toBeUndefined();
    expect(append(0x1000, 1, true)).toBe('it has too many segments');
    expect(append(0, 0, true)).toBeUndefined();
  });
});
