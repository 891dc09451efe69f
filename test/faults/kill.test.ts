import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';

const KILLS = 100;
const program = join(import.meta.dirname, '../programs/victim.ts');

interface Found {
  readonly round: number;
  readonly whole: boolean;
  readonly documents: readonly string[];
  readonly adopted: readonly { readonly key: string; readonly data: unknown }[];
  readonly guest: number;
}

let folder: string;
/** Every process of this test carries it, so that none is missed and none of another program is counted. */
let mark: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'runtime-kill-'));
  mark = `HOME=${folder}`;
});
afterEach(async () => {
  for (const pid of marked()) process.kill(pid, 'SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

function marked(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark);
      } catch {
        return false;
      }
    })
    .map(Number);
}

function start(...args: readonly string[]): ChildProcess {
  const env = { ...process.env, HOME: folder };
  const argv = ['--conditions=@runtime/source', program, join(folder, 'state'), ...args];
  return spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'ignore'] });
}

async function firstLine(child: ChildProcess): Promise<Found> {
  if (child.stdout === null) throw new Error('no standard output');
  for await (const line of createInterface(child.stdout)) return JSON.parse(line) as Found;
  throw new Error('it ended before it ran');
}

test(`a runtime killed ${KILLS} times at random moments leaves nothing half done`, { timeout: 600_000 }, async () => {
  for (let i = 0; i < KILLS; i++) {
    const child = start();
    // A third is killed while it starts, the rest while it works.
    if (i % 3 !== 0) await firstLine(child);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 150));
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  const child = start('once');
  const exited = once(child, 'exit');
  const found = await firstLine(child);
  expect(found.whole).toBe(true);
  expect(found.round).toBeGreaterThan(KILLS / 2);
  expect(found.documents).toEqual(['ledger']);
  // The one detached child is still the same, and is known by its data.
  expect(found.adopted).toEqual([{ key: 'guest', data: { name: 'penguin' } }]);
  expect(await exited).toEqual([0, null]);
  // What is left is that child and the helper it started itself.
  await expect.poll(() => marked().length, { timeout: 10_000 }).toBe(2);
  expect(marked()).toContain(found.guest);
});
