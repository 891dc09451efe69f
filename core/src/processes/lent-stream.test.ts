import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { flush } from '../test-programs/fake-clock.ts';
import { LentReadable, LentWritable } from './lent-stream.ts';

test('whatever was read or only looked at, the next borrower gets the rest in order', async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(sizes, fc.nat(50_000), async (chunks, taken) => {
      const sent = Buffer.alloc(chunks.reduce((sum, size) => sum + size, 0)).map((_, at) => at % 251);
      const source = new PassThrough();
      let from = 0;
      for (const size of chunks) {
        source.write(sent.subarray(from, from + size));
        from += size;
      }
      source.end();
      const first = new LentReadable(source);
      first.on('readable', () => {});
      await flush();
      const received: Buffer[] = [];
      const some: unknown = first.read(taken) ?? first.read();
      if (Buffer.isBuffer(some)) received.push(some);
      first.giveBack();
      for await (const chunk of new LentReadable(source)) received.push(chunk);
      expect(Buffer.concat(received).equals(sent)).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('a borrower that has given back sees neither data nor the end', async () => {
  const source = new PassThrough();
  const old = new LentReadable(source);
  const seen: string[] = [];
  old.on('data', (chunk) => seen.push(String(chunk))).on('end', () => seen.push('end'));
  source.write('a');
  await flush();
  old.giveBack();
  source.end('b');
  await flush();
  expect(seen).toEqual(['a']);
});

test('ending the lent side ends the pipe; a borrower that has given back cannot', async () => {
  const target = new PassThrough();
  const old = new LentWritable(target);
  old.giveBack();
  old.end();
  await once(old, 'finish');
  expect(target.writableEnded).toBe(false);
  const lent = new LentWritable(target);
  lent.end('last');
  await once(lent, 'finish');
  expect(String(target.read())).toBe('last');
  expect(target.writableEnded).toBe(true);
});
