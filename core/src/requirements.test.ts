import { expect, test } from 'vitest';
import { needs, normalizeRequirement, optional } from './requirements.ts';
import { defineService } from './tokens.ts';

const token = defineService<object>('x', { version: '1.2.0' });

test('a requirement says which contract, in which versions, and whether it can be done without', () => {
  expect(normalizeRequirement(token)).toEqual({ token, range: '^1.2.0', optional: false });
  expect(normalizeRequirement(needs(token, '~1.4.0'))).toEqual({ token, range: '~1.4.0', optional: false });
  expect(normalizeRequirement(optional(token))).toEqual({ token, range: '^1.2.0', optional: true });
  expect(normalizeRequirement(optional(token, '>=1.0.0'))).toEqual({ token, range: '>=1.0.0', optional: true });
});
