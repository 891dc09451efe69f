import { mapAnonymous } from '@runtime/sdk/linux';
import { Chain, GuestMemory } from '@runtime/sdk/virtio';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteRing } from './byte-ring.ts';

const LIMIT = 20_000;

test('gives back what was put in, in order, however it grew and wrapped', () => {
  using mapping = mapAnonymous(65_536);
  const bytes = new Uint8Array(mapping.buffer);
  for (const i of bytes.keys()) bytes[i] = i * 7 + (i >> 8);
  const region = { guestAddress: 0, size: bytes.length, userAddress: 0, mapping, mappingOffset: 0 };
  const memory = GuestMemory.create([region]);
  const step = fc.record({ at: fc.nat(40_000), put: fc.nat(9000), take: fc.nat(12_000) });
  fc.assert(
    fc.property(fc.array(step, { size: 'max', maxLength: 60 }), (steps) => {
      const ring = new ByteRing(LIMIT);
      let model = Buffer.alloc(0);
      for (const { at, put, take } of steps) {
        const count = Math.min(put, LIMIT - model.length);
        if (count > 0) {
          const chain = new Chain();
          chain.clear(0);
          chain.append(memory, at, 10, false);
          chain.append(memory, at + 10, count, false);
          ring.appendFrom(chain, 10, count);
          model = Buffer.concat([model, bytes.subarray(at + 10, at + 10 + count)]);
        }
        expect(Buffer.compare(ring.toBytes(), model)).toBe(0);
        const target = new Uint8Array(Math.min(take, 5000));
        const peeked = ring.peek(target);
        expect(Buffer.compare(target.subarray(0, peeked), model.subarray(0, target.length))).toBe(0);
        ring.consume(peeked);
        model = model.subarray(peeked);
        expect(ring.length).toBe(model.length);
      }
    }),
    { numRuns: 60 },
  );
});

test('holds no more than its limit', () => {
  const ring = new ByteRing(10);
  ring.restore(new Uint8Array(10));
  expect(() => ring.appendFrom(new Chain(), 0, 1)).toThrow(RangeError);
});
