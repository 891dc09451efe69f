import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Processes } from './processes.ts';
import { parseLaunchRequest } from './text-format.ts';

let folder: string;
let lines: string[];
let failures: string[];
let processes: Processes;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'processes-'));
  lines = [];
  failures = [];
  processes = new Processes({
    log: (priority, text) => void lines.push(`${priority}: ${text}`),
    onFailure: (name) => void failures.push(name),
    console: join(folder, 'console'),
  });
});
afterEach(() => {
  processes.stopRespawning();
  rmSync(folder, { recursive: true, force: true });
});

const launch = (text: string) => processes.launch(parseLaunchRequest(text));

test('a program is waited for, and how it ended is told', async () => {
  expect(await launch('argv: ["sh", "-c", "echo $A; exit 7"] env { key: "A" value: "ä" } wait_for_exit: true')).toEqual(
    {
      ...{ status: 'EXITED', code: 7 },
    },
  );
  expect(lines).toEqual(['info: sh: ä\n']);
  expect(await launch('argv: ["sh", "-c", "kill -9 $$"] wait_for_exit: true')).toEqual({ status: 'SIGNALED', code: 9 });
  expect(await launch('argv: "sleep" argv: "0"')).toEqual({ status: 'LAUNCHED', code: 0 });
  expect(await launch('argv: "/nowhere/at/all"')).toEqual({ status: 'FAILED', code: 0 });
});

test('more output than is wanted neither stops a program nor is kept', async () => {
  const text = 'argv: ["sh", "-c", "head -c 300000 /dev/zero | tr \'\\\\0\' x"] wait_for_exit: true';
  expect(await launch(text)).toEqual({ status: 'EXITED', code: 0 });
  expect(lines.join().length).toBeLessThan(66_000);
});

test('what cannot be meant is refused', async () => {
  for (const text of ['', 'argv: ""', 'argv: "true" respawn: true wait_for_exit: true', 'argv: "a\\000b"'])
    await expect(launch(text)).rejects.toMatchObject({ status: 3 });
});

test('a program has the console when it asks for it', async () => {
  writeFileSync(join(folder, 'console'), '');
  await launch('argv: ["sh", "-c", "echo here"] use_console: true wait_for_exit: true');
  expect(readFileSync(join(folder, 'console'), 'utf8')).toBe('here\n');
});

test('who ends again and again is started again ten times', async () => {
  const count = join(folder, 'count');
  expect(await launch(`argv: ["sh", "-c", "echo >> ${count}"] respawn: true`)).toEqual({ status: 'LAUNCHED', code: 0 });
  await vi.waitFor(() => expect(lines.at(-1)).toContain('is left alone'), { timeout: 10_000 });
  expect(readFileSync(count, 'utf8')).toBe('\n'.repeat(11));
  expect(failures).toEqual(Array(11).fill('sh'));
});

test('start-up files are started by name, and one that is wrong stops no other', async () => {
  const out = join(folder, 'out');
  rmSync(join(folder, 'console'), { force: true });
  writeFileSync(join(folder, '1'), `argv: ["sh", "-c", "echo 1 >> ${out}"] wait_for_exit: true`);
  writeFileSync(join(folder, '2'), 'nonsense');
  writeFileSync(join(folder, '3'), 'argv: "/nowhere"');
  writeFileSync(join(folder, '4'), `argv: ["sh", "-c", "echo 4 >> ${out}"] wait_for_exit: true`);
  await processes.startFrom(folder);
  expect(readFileSync(out, 'utf8')).toBe('1\n4\n');
  expect(lines.filter((line) => line.startsWith('error'))).toHaveLength(2);
  await processes.startFrom(join(folder, 'nothing'));
});

test('what a program writes that nobody waits for is told line by line', async () => {
  const told: string[] = [];
  processes = new Processes({
    ...{ log: () => {}, onFailure: () => {} },
    onOutput: (name, line) => void told.push(`${name}: ${line}`),
  });
  await launch('argv: ["/bin/sh", "-c", "echo one; echo; echo two >&2; printf three"]');
  await vi.waitFor(() => expect(told.toSorted()).toEqual(['sh: one', 'sh: three', 'sh: two']));
  await launch('argv: ["sh", "-c", "head -c 1000000 /dev/zero | tr \'\\\\0\' x; echo; echo end"]');
  await vi.waitFor(() => expect(told.at(-1)).toBe('sh: end'));
  for (const line of told) expect(line.length).toBeLessThan(80_000);
});
