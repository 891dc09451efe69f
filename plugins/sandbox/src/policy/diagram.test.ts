import fc from 'fast-check';
import { expect, test } from 'vitest';
import { comparePolicies } from './compare.ts';
import { Diagrams } from './diagram.ts';
import { isTrue } from './evaluate.ts';
import { explainAll } from './explain.ts';
import type { Operator } from './policy.ts';
import { parseText } from './test-policies.ts';

const word = fc.oneof(fc.bigInt({ min: 0n, max: 8n }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
const operators = fc.constantFrom<Operator>('==', '!=', '<', '<=', '>', '>=', '&', 'in');

test('the diagram of a comparison says what the comparison says', () => {
  const check = fc.property(operators, word, word, (operator, value, given) => {
    const diagrams = new Diagrams('test');
    const atom = { argument: 1, operator, value };
    const asked = diagrams.atom({ argument: 1, operator: '==', value: given }, 64);
    const both = diagrams.choose(asked, diagrams.atom(atom, 64), diagrams.ending(0));
    expect(diagrams.endings(both).has(1)).toBe(isTrue(atom, [0n, given], 64));
  });
  fc.assert(check, { numRuns: 2000 });
});

test('what is written differently and means the same is no difference', () => {
  const left = parseText('mmap: arg2 in ~4 || arg2 in ~2\nioctl: arg1 > 4 && arg1 <= 6\nread: 1\n');
  const right = parseText('read: 1\nmmap: { arg2 & 2 && arg2 & 4; kill, allow }\nioctl: arg1 == 5 || arg1 == 6\n');
  expect(comparePolicies(left, right)).toEqual([]);
});

test('a difference has an example that shows it', () => {
  const left = parseText('ioctl: arg1 == 5\nread: 1\n@default trap\n');
  const right = parseText('ioctl: arg1 == 5 || arg1 == 0x700000000 && arg0 < 3\nread: 1\n');
  const differences = comparePolicies(left, right);
  expect(differences).toMatchObject([
    { number: 16, left: { action: { kind: 'trap' } }, right: { action: { kind: 'kill-thread' } } },
    { number: undefined, left: { action: { kind: 'trap' } } },
  ]);
  const alike = comparePolicies(parseText('ioctl: arg1 == 5\nread: 1\n'), right);
  expect(alike).toMatchObject([{ number: 16, args: [0n, 0x7_0000_0000n, 0n, 0n, 0n, 0n] }]);
});

test('each line that ever decides is told, with arguments that it decides', () => {
  const policy = parseText('fcntl: { arg1 == 1; allow, arg1 < 2; return EPERM, arg1 == 0; trap, arg1 == 9; log }\n');
  const told = explainAll(policy, 72).map(({ action, example }) => [action.kind, example[1]]);
  // The third can never decide.
  expect(told).toEqual([
    ['allow', 1n],
    ['errno', 0n],
    ['log', 9n],
    ['kill-thread', 2n],
  ]);
});
