import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ARCHITECTURES, architectureCalled, readConstantsJson, tablesOf } from './index.ts';
import { parseText } from './test-policies.ts';

const folder = mkdtempSync(join(tmpdir(), 'tables-'));
afterAll(() => rmSync(folder, { recursive: true }));

function table(json: unknown): string {
  const path = join(folder, 'constants.json');
  writeFileSync(path, typeof json === 'string' ? json : JSON.stringify(json));
  return path;
}

test('our tables have the numbers that Node has for this computer', () => {
  const { constants: ours } = tablesOf(architectureCalled(process.arch));
  const known = { ...constants.errno, ...constants.signals };
  // Names of Node's own, or of old systems.
  for (const [name, value] of Object.entries(known)) {
    const found = ours.get(name);
    if (found !== undefined) expect([name, found]).toEqual([name, BigInt(value)]);
  }
  expect(ours.get('ENOENT')).toBe(2n);
  expect(ours.get('SIGKILL')).toBe(9n);
});

// From the tables of the kernel: arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl, arch/arm/tools/syscall.tbl.
test.each([
  ['x86_64', { read: 0, ioctl: 16, openat: 257, clone3: 435, mseal: 462, open: 2 }],
  ['aarch64', { read: 63, ioctl: 29, openat: 56, clone3: 435, mseal: 462, open: undefined }],
  ['riscv64', { read: 63, ioctl: 29, riscv_flush_icache: 259, mseal: 462, open: undefined }],
  ['arm', { read: 3, ioctl: 54, mmap2: 192, ARM_set_tls: 0xf0005, mseal: 462, open: 5 }],
] as const)('%s has its own numbers', (architecture, numbers) => {
  const { syscalls } = tablesOf(architecture);
  for (const [name, number] of Object.entries(numbers)) expect([name, syscalls.get(name)]).toEqual([name, number]);
  // arm_sync_file_range is another name of sync_file_range2.
  const second = syscalls.has('arm_sync_file_range') ? 1 : 0;
  expect(new Set(syscalls.values()).size).toBe(syscalls.size - second);
});

test('what is different between architectures is so here', () => {
  const of = (name: string) => ARCHITECTURES.map((architecture) => tablesOf(architecture).constants.get(name));
  expect(of('O_DIRECTORY')).toEqual([0o200000n, 0o40000n, 0o200000n, 0o40000n]);
  // The size of a structure is part of it.
  expect(of('FS_IOC_GETFLAGS')).toEqual([0x80086601n, 0x80086601n, 0x80086601n, 0x80046601n]);
  expect(of('AT_FDCWD')).toEqual([2n ** 64n - 100n, 2n ** 64n - 100n, 2n ** 64n - 100n, 2n ** 32n - 100n]);
});

const GOOD = { arch_nr: 0xc000_003e, arch_name: 'x86_64', bits: 64, syscalls: { read: 0, write: 1 }, constants: {} };

test('tables and groups of minijail are taken', () => {
  const tables = readConstantsJson(
    table({ ...GOOD, constants: { MINUS: -1 }, syscall_groups: { mine: { io: ['read', 'write'] } } }),
  );
  const policy = parseText('io@mine: arg0 == MINUS\n', { tables });
  expect([...policy.rules.keys()]).toEqual([0, 1]);
  expect(policy.rules.get(0)?.filters[0]?.condition?.[0]?.[0]?.value).toBe(2n ** 64n - 1n);
  expect(() => parseText('oi@mine: 1\n', { tables })).toThrow('there is no group "oi" in mine; did you mean "io"?');
});

test('numbers of 64 bits stay exact', () => {
  const text = JSON.stringify({ ...GOOD, constants: { BIG: 0 } }).replace('"BIG":0', '"BIG":18446744073709551615');
  expect(readConstantsJson(table(text)).constants.get('BIG')).toBe(2n ** 64n - 1n);
});

test.each([
  ['[]', 'it is no object'],
  ['{', 'JSON'],
  [{ ...GOOD, bits: 16 }, 'bits must be 32 or 64'],
  [{ ...GOOD, arch_nr: -1 }, 'arch_nr'],
  [{ ...GOOD, syscalls: { read: 1.5 } }, 'the number of read is none'],
  [{ ...GOOD, constants: { A: 'x' } }, 'the value of A is no whole number'],
  [{ ...GOOD, syscall_groups: { n: { g: ['nonesuch'] } } }, 'has what is no system call'],
])('%j is refused', (json, why) => {
  expect(() => readConstantsJson(table(json))).toThrow(why);
});
