import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PROBE_EXIT, probeArguments, probeRom } from './probe-guest.ts';
import { findProgram } from './programs.ts';

const program = findProgram('qemu-system-x86_64');

test('starts at the reset vector', () => {
  const rom = Buffer.from(probeRom());
  expect(rom.length).toBe(65_536);
  // jmp far ff00:0000
  expect([...rom.subarray(0xfff0, 0xfff5)]).toEqual([0xea, 0, 0, 0, 0xff]);
  expect(rom[0xf000]).toBe(0xfa);
});

test('gets to its end under TCG', (context) => {
  if (program === undefined) return context.skip('qemu-system-x86_64 is not there');
  const folder = mkdtempSync(join(tmpdir(), 'probe-'));
  try {
    const rom = join(folder, 'rom');
    writeFileSync(rom, probeRom());
    const { status } = spawnSync(program, probeArguments(rom, 'tcg'), { timeout: 15_000 });
    expect(status).toBe(PROBE_EXIT);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
