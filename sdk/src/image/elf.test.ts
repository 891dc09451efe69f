import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { elfNeeds, elfSection, hasPvhEntry, isElf } from './elf.ts';
import { makeElf, spoiled } from './test-elf.ts';

const words = (...values: number[]): Buffer => {
  const out = Buffer.alloc(values.length * 8);
  values.forEach((value, i) => void out.writeBigUInt64LE(BigInt(value), i * 8));
  return out;
};
const note = (name: string, type: number): Buffer => {
  const out = Buffer.alloc(12 + 4 + 8);
  out.writeUInt32LE(name.length + 1, 0);
  out.writeUInt32LE(8, 4);
  out.writeUInt32LE(type, 8);
  out.write(name, 12);
  return out;
};

const STRINGS = Buffer.from('\0libc.so.6\0libz.so.1\0');
const program = makeElf(
  [{ name: '.comment', bytes: Buffer.from('hello') }],
  [
    { type: 3, address: 0, bytes: Buffer.from('/lib64/ld.so\0') },
    { type: 1, address: 0x1000, bytes: STRINGS },
    { type: 2, address: 0, bytes: words(1, 1, 1, 11, 5, 0x1000, 0, 0) },
    { type: 4, address: 0, bytes: Buffer.concat([note('GNU', 5), note('Xen', 18)]) },
  ],
);

test('sections, libraries and the entry of PVH are found', () => {
  expect(elfSection(program, '.comment')?.toString()).toBe('hello');
  expect(elfSection(program, '.nothing')).toBeUndefined();
  expect(elfNeeds(program)).toEqual({ interpreter: '/lib64/ld.so', libraries: ['libc.so.6', 'libz.so.1'] });
  expect(hasPvhEntry(program)).toBe(true);
  expect(hasPvhEntry(makeElf([], [{ type: 4, address: 0, bytes: note('Xen', 17) }]))).toBe(false);
});

test('a real program needs what it needs', () => {
  const needs = elfNeeds(readFileSync(process.execPath));
  expect(needs?.interpreter).toMatch(/^\/lib.*ld-/);
  expect(needs?.libraries).toContain('libc.so.6');
});

test('what is no ELF file gives nothing', () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('\x7fELF'),
    Buffer.alloc(4096),
    Buffer.from('#!/bin/sh\n'.repeat(20)),
  ]) {
    expect(isElf(bytes)).toBe(false);
    expect(elfNeeds(bytes)).toBeUndefined();
    expect(elfSection(bytes, '.modinfo')).toBeUndefined();
    expect(hasPvhEntry(bytes)).toBe(false);
  }
});

test('names past the end of the string table are not followed', () => {
  const bad = makeElf(
    [],
    [
      { type: 1, address: 0x1000, bytes: STRINGS },
      { type: 2, address: 0, bytes: words(1, 2 ** 40, 5, 0x1000, 0, 0) },
    ],
  );
  expect(elfNeeds(bad)).toBeUndefined();
});

test('20,000 spoiled files are survived', () => {
  for (const bytes of spoiled(program, 20_000)) {
    elfNeeds(bytes);
    elfSection(bytes, '.comment');
    hasPvhEntry(bytes);
  }
});
