import { closeSync, constants, openSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ioctlBuffer } from './ioctl.ts';
import { passOutputThrough } from './termios.ts';

it('a terminal gets what is written, as it is; the other settings stay', () => {
  const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY);
  try {
    const settings = (): number[] => {
      const words = new Uint32Array(9);
      ioctlBuffer(master, 0x5401, words);
      return [...words];
    };
    const before = settings();
    expect((before[1] as number) & 1).toBe(1);
    passOutputThrough(master);
    expect(settings()).toEqual(before.with(1, (before[1] as number) - 1));
  } finally {
    closeSync(master);
  }
});

it('what is no terminal is told', () => {
  const file = openSync('/dev/null', 'r');
  expect(() => passOutputThrough(file)).toThrow(expect.objectContaining({ errnoName: 'ENOTTY' }));
  closeSync(file);
});
