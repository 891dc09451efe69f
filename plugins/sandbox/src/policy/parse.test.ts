import fc from 'fast-check';
import { expect, test } from 'vitest';
import { evaluate, tablesOf } from './index.ts';
import { parseText } from './test-policies.ts';

const ioctl = tablesOf('x86_64').syscalls.get('ioctl') as number;
const decide = (policy: ReturnType<typeof parseText>, value: bigint) =>
  evaluate(policy, { auditArch: policy.tables.auditArch, number: ioctl, args: [0n, value] }).action;

test('an error after a condition means the opposite in the two dialects', () => {
  const text = 'ioctl: arg1 == 5; return EPERM\n';
  const c = parseText(text, { dialect: 'c' });
  const python = parseText(text, { dialect: 'python' });
  expect([decide(c, 5n), decide(c, 6n)]).toEqual([{ kind: 'allow' }, { kind: 'errno', errno: 1 }]);
  expect([decide(python, 5n), decide(python, 6n)]).toEqual([{ kind: 'errno', errno: 1 }, { kind: 'kill-thread' }]);
});

test.each([
  ['python', 'read: allow\nwirte: allow\n', '2:1: x86_64 has no system call "wirte"; did you mean "write"?'],
  ['python', 'ioctl: arg1 == TCGETZ\n', '1:16: there is no constant "TCGETZ"; did you mean "TCGET'],
  ['python', 'ioctl: arg6 == 1\n', '1:8: arg6 is none'],
  ['python', 'ioctl: arg1 == ~~1\n', '1:17: a constant must follow'],
  ['python', 'ioctl: arg1 == (1|2\n', '1:20: ")" must follow, not the end'],
  ['python', 'ioctl: arg1 === 1\n', '1:15: a constant must follow, not "="'],
  ['python', 'ioctl: arg1 == 0x10000000000000000\n', 'too large for 64 bits'],
  ['python', 'read: allow\nread: allow\n', '2:7: read is decided already, for any arguments, in line 1'],
  ['python', 'read: allow extra\n', '1:13: the end of the line must follow, not "extra"'],
  ['python', '@default allow\n', '1:10: a policy cannot allow by default'],
  ['python', '@denylist\n', 'must be asked for'],
  ['python', 'read: allow \\\n', '1:13: the file ends in the middle of a line'],
  ['python', 'read: $\n', '1:7: "$" cannot be understood'],
  ['python', '@include ./none\n', '1:10: '],
  ['python', 'io@default: allow\n', '1:1: there is no namespace of groups "default"'],
  ['python', 'read: return\n', '1:13: a constant must follow, not the end'],
  ['c', 'read: allow\n', '1:7: "allow" is no argument'],
  ['c', 'read: 1\nread: 1\n', '2:1: read has a line already, in line 1'],
  ['c', 'ioctl: arg1 == 1 | 2\n', '1:18: "|" follows the value, which cannot have spaces'],
  ['c', 'ioctl: arg1 ==\n', '1:13: a value must follow =='],
  ['c', 'ioctl: arg1 == 08\n', '1:16: there is no constant "08"'],
  ['c', 'ioctl: arg1 == 1; return 1; return 2\n', 'nothing can follow the second part'],
  ['c', 'ioctl: return 1 2\n', '1:17: "2" follows the error number'],
  ['c', 'ioctl: arg1 == (1\n', '1:16: this bracket is never closed'],
  ['c', 'ioctl: arg1 == 1 ||  && arg2 == 2\n', 'a comparison must follow'],
  ['c', '@include other\n', 'the path must begin with / or ./'],
  ['c', '@default trap\n', '"@default trap" is not known'],
  ['c', 'read\n', '1:1: a colon must follow'],
  ['c', 'read: 1 # so\n', '1:7: "1" is no argument'],
] as const)('%s: %j is refused where it is wrong', (dialect, text, why) => {
  expect(() => parseText(text, { dialect })).toThrow(why);
});

test('a comment that ends in a backslash swallows the next line in C only', () => {
  const text = '# so \\\nread: 1\n';
  expect(parseText(text, { dialect: 'c' }).rules.size).toBe(0);
  expect(parseText(text, { dialect: 'python' }).rules.size).toBe(1);
});

test('includes are bounded, also when they include each other', () => {
  const files = { a: '@include ./b\n', b: '@include ./a\n' };
  expect(() => parseText(files)).toThrow('deeper than 10');
  expect(() => parseText(files, { dialect: 'c' })).toThrow('cannot include others');
  // Each of ten files includes the next one twice.
  const wide = Object.fromEntries(
    Array.from({ length: 10 }, (_, index) => [`f${index}`, `@include ./f${index + 1}\n`.repeat(index < 9 ? 2 : 0)]),
  );
  expect(() => parseText(wide)).toThrow('may have 256 files');
});

test('frequencies of several files add up', () => {
  const files = { a: '@frequency ./f\n@frequency ./f\nread: 1\nwrite: 1\n', f: 'read: 5\n' };
  const { rules } = parseText(files);
  expect(Array.from(rules.values(), ({ frequency }) => frequency)).toEqual([10, 1]);
});

test('what the compiler of minijail loses is warned of, and holds', () => {
  const policy = parseText('ioctl: { arg1 == 5; return EPERM, allow }\n');
  expect(policy.warnings).toMatchObject([{ at: { line: 1, column: 10 } }]);
  expect([decide(policy, 5n), decide(policy, 6n)]).toEqual([{ kind: 'errno', errno: 1 }, { kind: 'allow' }]);
});

test('unknown system calls are left out in C where calls are only logged', () => {
  const policy = parseText('nonesuch: 1\nread: 1\n', { dialect: 'c', kill: 'log' });
  expect([policy.rules.size, policy.warnings.length, policy.defaultAction.kind]).toEqual([1, 1, 'log']);
});

test('nothing is refused in Python where calls are only logged', () => {
  const policy = parseText('ioctl: arg1 == 5; return EPERM\n', { kill: 'log' });
  expect([decide(policy, 5n), decide(policy, 6n)]).toEqual([{ kind: 'log' }, { kind: 'log' }]);
});

test('arguments of 32 bits are cut', () => {
  const tables = tablesOf('arm');
  const policy = parseText('ioctl: arg1 in ~1\n', { tables });
  const number = tables.syscalls.get('ioctl') as number;
  const ask = (value: bigint) =>
    evaluate(policy, { auditArch: tables.auditArch, number, args: [0n, value] }).action.kind;
  expect([ask(2n), ask(3n), ask(0x1_0000_0002n)]).toEqual(['allow', 'kill-thread', 'allow']);
  expect(() => parseText('ioctl: arg1 == 0x100000000\n', { tables })).toThrow('too large for 32 bits');
});

const words = fc.constantFrom(
  ...[
    'read',
    'ioctl',
    ':',
    '1',
    'allow',
    'arg1',
    'arg0',
    '==',
    '&',
    'in',
    '~',
    '(',
    ')',
    '{',
    '}',
    ',',
    ';',
    '||',
    '&&',
  ],
  ...[
    '|',
    'return',
    'EPERM',
    '0x10',
    '-1',
    '08',
    '@include',
    './x',
    '@default',
    'kill',
    '#',
    '\\\n',
    '\n',
    ' ',
    '\t',
    '[arch=arm]',
  ],
);
test('whatever is written, it is read or refused with a place', () => {
  const dialects = fc.constantFrom('c' as const, 'python' as const);
  const run = fc.property(fc.array(words, { maxLength: 40 }), dialects, (parts, dialect) => {
    try {
      parseText(parts.join(' '), { dialect });
    } catch (e) {
      expect((e as { readonly code?: string }).code).toBe('SANDBOX_ERR_POLICY');
    }
  });
  fc.assert(run, { numRuns: 500 });
});
