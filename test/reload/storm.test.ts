import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const RELOADS = 1_000;
const program = join(import.meta.dirname, '../programs/storm.ts');

interface Census {
  readonly heap: number;
  readonly fds: number;
  readonly census: string;
}
interface Measured {
  readonly answered: number;
  readonly failed: readonly string[];
  readonly outOfOrder: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly before: Census;
  readonly after: Census;
  readonly sabotaged: Readonly<Record<string, string>>;
  readonly mended: string;
}

test(`a plugin in use is reloaded ${RELOADS} times and nobody notices`, { timeout: 600_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'runtime-storm-'));
  try {
    const flags = ['--expose-gc', '--conditions=@runtime/source'];
    const { stdout } = await run(process.execPath, [...flags, program, folder, String(RELOADS)], {
      maxBuffer: 64 * 1024 * 1024,
    });
    const measured = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Measured;
    const { before, after } = measured;
    expect(measured.outcomes).toEqual({ swapped: RELOADS });
    expect(measured.failed).toEqual([]);
    expect(measured.outOfOrder).toBe(0);
    expect(measured.answered).toBeGreaterThan(RELOADS);
    expect(after.census).toBe(before.census);
    expect(after.fds).toBe(before.fds);
    expect(after.heap - before.heap).toBeLessThan(10);
    expect(measured.sabotaged).toEqual({
      syntax: `kept-old, then ${RELOADS}`,
      throw: `rolled-back, then ${RELOADS}`,
      hang: `rolled-back, then ${RELOADS}`,
      state: `kept-old, then ${RELOADS}`,
    });
    expect(measured.mended).toBe('swapped, then mended');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
