import { expect, test } from 'vitest';
import { CheckReader } from './self-check.ts';

test('picks the lines out of a console, however it is cut', () => {
  const reader = new CheckReader();
  const text =
    'runtime: guest up\r\ncheck block ok vda 4 MiB\r\n# check\r\ncheck net failed no address\r\ncheck x maybe\r\ncheck done\r\n';
  for (const byte of Buffer.from(text)) reader.push(Uint8Array.of(byte));
  expect(reader.lines).toEqual([
    { check: 'block', result: 'ok', detail: 'vda 4 MiB' },
    { check: 'net', result: 'failed', detail: 'no address' },
  ]);
  expect(reader.done).toBe(true);
});

test('a guest that talks without end fills nothing', () => {
  const reader = new CheckReader();
  for (let i = 0; i < 1000; i++) reader.push(Buffer.from('x'.repeat(10_000)));
  for (let i = 0; i < 1000; i++) reader.push(Buffer.from(`\ncheck a${i} ok`));
  expect(reader.lines.length).toBe(256);
  expect(reader.done).toBe(false);
});
