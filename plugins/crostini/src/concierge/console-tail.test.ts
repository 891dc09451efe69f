import { expect, test } from 'vitest';
import { tailOf } from './console-tail.ts';

const numbered = (count: number): string => Array.from({ length: count }, (_, i) => `line ${i}\r\n`).join('');

test('the last lines are shown', () => {
  expect(tailOf('')).toBe('');
  expect(tailOf(numbered(30))).toMatch(/^\n {4}line 18\n[\s\S]*\n {4}line 29$/);
});

test('of a panic what led to it', () => {
  const text = `${numbered(30)}maitred: no disk\nKernel panic - not syncing: Attempted to kill init!\n${numbered(40)}`;
  expect(tailOf(text)).toMatch(/^\n {4}line 20[\s\S]*maitred: no disk\n {4}Kernel panic [^\n]*$/);
});

test('a guest cannot write to the terminal, nor much', () => {
  const tail = tailOf(`\u001b[2J\u001b]0;title\u0007${'x'.repeat(1_000)}\u009b31m\n`);
  expect(tail).not.toMatch(/(?!\n)\p{C}/u);
  expect(tail.length).toBeLessThan(200);
});
