import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkOwner, decodeName, encodeName } from './names.ts';

test('a name is encoded as concierge does, with its padding', () => {
  expect(encodeName('termina')).toBe('dGVybWluYQ==');
  expect(decodeName('dGVybWluYQ==')).toBe('termina');
});

test('any name that is taken comes back, and is the name of one file', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (vm) => {
      let encoded: string;
      try {
        encoded = encodeName(vm);
      } catch (e) {
        expect(e).toMatchObject({ code: 'CROSTINI_ERR_VM_NAME' });
        return;
      }
      expect(encoded).toMatch(/^[A-Za-z0-9_-]+=*$/);
      expect(Buffer.byteLength(encoded)).toBeLessThanOrEqual(80);
      expect(decodeName(encoded)).toBe(vm);
    }),
  );
});

test('what is no name of ours is not decoded', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 100 }), (text) => {
      const vm = decodeName(text);
      if (vm !== undefined) expect(encodeName(vm)).toBe(text);
    }),
  );
  for (const text of ['', 'dGVybWluYQ', 'dGVybWluYQ=', '..', 'AA==']) expect(decodeName(text)).toBeUndefined();
});

test.each(['', 'x'.repeat(61), 'a\nb', '\ud800', '\0'])('%j is refused', (vm) => {
  expect(() => encodeName(vm)).toThrow(expect.objectContaining({ code: 'CROSTINI_ERR_VM_NAME' }));
});

test.each(['', '..', 'g', 'a/b', 'a'.repeat(65)])('owner %j is refused', (owner) => {
  expect(() => checkOwner(owner)).toThrow(expect.objectContaining({ code: 'CROSTINI_ERR_DISK_OWNER' }));
});
