import { statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { check, declare, errnoName, lastErrno } from './call.ts';

test('errno is that of the call, whatever failed in this thread since', () => {
  const close = declare<[fd: number], number>('int close(int fd)');
  const result = close(-1);
  expect(() => statSync('/nowhere/at/all')).toThrow('ENOENT');
  expect(errnoName(lastErrno())).toBe('EBADF');
  expect(() => check('close', result)).toThrow('EBADF');
});
