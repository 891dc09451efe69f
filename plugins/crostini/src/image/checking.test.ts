import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checksImages, damageOn } from './checking.ts';

test.each([
  ['auto', 'kvm', true],
  ['auto', 'tcg', false],
  ['on', 'tcg', true],
  ['off', 'kvm', false],
] as const)('with verity %s under %s: %s', async (wish, accelerator, checked) => {
  expect(await checksImages(wish, { accelerator: async () => accelerator })).toBe(checked);
});

test('a guest that came upon a changed block says which', () => {
  const line = '[    3.1] device-mapper: verity: 254:0: data block 4711 is corrupted';
  expect(damageOn(`first\n${line}\n Kernel panic - not syncing: dm-verity device corrupted`)).toMatch(/^block 4711 /);
  expect(damageOn('device-mapper: verity: 254:0: metadata block 46085 is corrupted')).toMatch(/^block 46085, of its/);
  expect(damageOn('Kernel panic - not syncing: Attempted to kill init!')).toBeUndefined();
});

test('whatever is on a console, what is said of it is short', () => {
  const words = fc.constantFrom('device-mapper: verity: ', 'data block ', '9'.repeat(40), ' is corrupted', '254:0: ');
  fc.assert(
    fc.property(fc.array(fc.oneof(words, fc.string())), (parts) => {
      expect((damageOn(parts.join('')) ?? '').length).toBeLessThan(120);
    }),
  );
});
