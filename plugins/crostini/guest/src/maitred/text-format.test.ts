import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseLaunchRequest } from './text-format.ts';

test('a start-up file of ChromeOS is read', () => {
  const text = `
# The log daemon.
argv: "/sbin/vm_syslog"
argv: '--flag' "=va\\"lue\\n\\x41\\101"
env { key: "A" value: "1" }, env: < key: 'B', value: "2" >;
respawn: true use_console: false
`;
  expect(parseLaunchRequest(text)).toEqual({
    argv: ['/sbin/vm_syslog', '--flag=va"lue\nAA'],
    env: new Map([
      ['A', '1'],
      ['B', '2'],
    ]),
    ...{ respawn: true, use_console: false, wait_for_exit: false },
  });
  expect(parseLaunchRequest('argv: ["a", "b"] argv: []').argv).toEqual(['a', 'b']);
});

test('what is not one is refused', () => {
  const wrong = [
    'argv',
    'argv:',
    'argv: a',
    'argv "a"',
    'what: "a"',
    'respawn: maybe',
    'env { key: "a"',
    'argv: ["a" "b" c]',
  ];
  for (const text of [...wrong, 'argv: "a', 'env: "a"', '}', `argv: "${'x'.repeat(70_000)}"`])
    expect(() => parseLaunchRequest(text), text).toThrow(SyntaxError);
});

test('no text does anything but be read or refused', () => {
  const words = [
    'argv',
    'env',
    ':',
    '{',
    '}',
    '[',
    ']',
    ',',
    '"a"',
    "'",
    '"',
    '\\',
    'respawn',
    'true',
    'key',
    '#',
    '\n',
  ];
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(fc.constantFrom(...words)).map((all) => all.join(' ')),
  );
  fc.assert(
    fc.property(text, (input) => {
      try {
        expect(Array.isArray(parseLaunchRequest(input).argv)).toBe(true);
      } catch (e) {
        expect(e).toBeInstanceOf(SyntaxError);
      }
    }),
  );
});
