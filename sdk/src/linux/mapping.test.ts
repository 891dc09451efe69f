import { closeSync } from 'node:fs';
import { isRuntimeError } from '@runtime/core';
import { expect, test } from 'vitest';
import { isLinuxError } from './call.ts';
import { eventfd } from './eventfd.ts';
import { MAX_MAPPING, madvise, mapAnonymous, mapFile, PAGE_SIZE } from './mapping.ts';
import { addSeals, memfdCreate, sealsOf } from './memfd.ts';
import { errnoName, rawPread, rawPwrite } from './raw-io.ts';

test('two mappings of one memfd see each other’s writes, at their offsets', () => {
  const fd = memfdCreate('shared', { size: 3 * PAGE_SIZE });
  using whole = mapFile(fd, 3 * PAGE_SIZE);
  using second = mapFile(fd, PAGE_SIZE, { offset: PAGE_SIZE });
  closeSync(fd);
  new Uint8Array(whole.buffer)[PAGE_SIZE + 5] = 77;
  expect(new Uint8Array(second.buffer)[5]).toBe(77);
  Atomics.store(new Uint32Array(second.buffer), 2, 0xdead_beef);
  expect(Atomics.load(new Uint32Array(whole.buffer), PAGE_SIZE / 4 + 2)).toBe(0xdead_beef);
  expect(whole.address % PAGE_SIZE).toBe(0);
  expect(Number.isSafeInteger(whole.address)).toBe(true);
});

test('a private mapping keeps its writes', () => {
  const fd = memfdCreate('private', { size: PAGE_SIZE });
  using shared = mapFile(fd, PAGE_SIZE);
  using own = mapFile(fd, PAGE_SIZE, { shared: false });
  closeSync(fd);
  new Uint8Array(own.buffer)[0] = 1;
  expect(new Uint8Array(shared.buffer)[0]).toBe(0);
});

test('buffers of an unmapped range are empty, and the mapping says so', () => {
  const mapping = mapAnonymous(PAGE_SIZE);
  const bytes = new Uint8Array(mapping.buffer);
  const words = new Uint32Array(mapping.buffer, 8, 2);
  bytes[9] = 3;
  expect(words[0]).toBe(3 << 8);
  mapping[Symbol.dispose]();
  mapping[Symbol.dispose]();
  expect(mapping.closed).toBe(true);
  expect([bytes.length, bytes[9], words[0]]).toEqual([0, undefined, undefined]);
  bytes[9] = 1;
  expect(() => mapping.buffer).toThrow('was used after it was unmapped');
});

test('what a file does not hold is refused before it can fault', () => {
  const fd = memfdCreate('short', { size: PAGE_SIZE });
  const refused = (length: number, offset = 0): string => {
    try {
      mapFile(fd, length, { offset })[Symbol.dispose]();
      return 'mapped';
    } catch (e) {
      return isRuntimeError(e, 'SDK_ERR_MAPPING') ? e.message : String(e);
    }
  };
  expect(refused(PAGE_SIZE + 1)).toContain(`the file has only ${PAGE_SIZE} bytes`);
  expect(refused(1, PAGE_SIZE)).toContain('the file has only');
  expect(refused(1, 5)).toContain('not a multiple of the page size');
  for (const length of [0, -1, 1.5, Number.NaN, MAX_MAPPING + 1]) expect(refused(length)).toContain('out of range');
  expect(refused(PAGE_SIZE)).toBe('mapped');
  closeSync(fd);
  expect(() => mapAnonymous(MAX_MAPPING + 1)).toThrow('out of range');
});

test('four gigabytes can be mapped at once and are given back', () => {
  const fd = memfdCreate('large', { size: MAX_MAPPING });
  using mapping = mapFile(fd, MAX_MAPPING);
  closeSync(fd);
  const bytes = new Uint8Array(mapping.buffer);
  bytes[MAX_MAPPING - 1] = 9;
  madvise(mapping.address + MAX_MAPPING - PAGE_SIZE, PAGE_SIZE, 'remove');
  expect(bytes[MAX_MAPPING - 1]).toBe(0);
  expect(() => madvise(1, PAGE_SIZE, 'dontneed')).toThrow('madvise failed with EINVAL');
});

test('seals hold', () => {
  const fd = memfdCreate('sealed', { size: PAGE_SIZE, seals: ['grow', 'shrink'] });
  expect(sealsOf(fd)).toEqual(['shrink', 'grow']);
  using scratch = mapAnonymous(PAGE_SIZE);
  expect(errnoName(rawPwrite(fd, scratch.address, 1, PAGE_SIZE))).toBe('EPERM');
  expect(rawPwrite(fd, scratch.address, 1, 0)).toBe(1);
  addSeals(fd, ['future-write', 'seal']);
  expect(errnoName(rawPwrite(fd, scratch.address, 1, 0))).toBe('EPERM');
  expect(() => mapFile(fd, PAGE_SIZE)).toThrow('mmap failed with EPERM');
  mapFile(fd, PAGE_SIZE, { access: 'read' })[Symbol.dispose]();
  expect(() => addSeals(fd, ['write'])).toThrow('fcntl failed with EPERM');
  closeSync(fd);
});

test('a descriptor without seals, and a name that is too long, are refused', () => {
  const fd = eventfd();
  expect(() => sealsOf(fd)).toThrow('fcntl failed with EINVAL');
  closeSync(fd);
  let error: unknown;
  try {
    memfdCreate('x'.repeat(250));
  } catch (e) {
    error = e;
  }
  expect(isLinuxError(error, 'EINVAL')).toBe(true);
});

test('reading by address fills memory, beyond 4 GiB of a file too', () => {
  const fd = memfdCreate('raw', { size: 2 ** 33 });
  using memory = mapAnonymous(64);
  const bytes = new Uint8Array(memory.buffer);
  bytes.set([1, 2, 3]);
  expect(rawPwrite(fd, memory.address, 3, 2 ** 32 + 7)).toBe(3);
  expect(rawPread(fd, memory.address + 16, 3, 2 ** 32 + 7)).toBe(3);
  expect([...bytes.subarray(16, 19)]).toEqual([1, 2, 3]);
  expect(errnoName(rawPread(fd, 8, 3, 0))).toBe('EFAULT');
  closeSync(fd);
  expect(errnoName(rawPread(fd, memory.address, 3, 0))).toBe('EBADF');
});
