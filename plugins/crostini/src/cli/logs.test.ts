import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime, type RunCommandOptions } from '@runtime/sdk/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { newLogBoard, publish } from '../concierge/log-board.ts';
import { LogKeeper } from '../concierge/log-keeper.ts';
import type { LogRecord } from '../concierge/log-records.ts';
import { LogStore } from '../concierge/log-store.ts';
import { DEFAULT_OWNER } from '../concierge/names.ts';
import type { CommandParts } from './index.ts';
import { addLogs, parseSince } from './logs.ts';

const key = { owner: DEFAULT_OWNER, name: 'foo' };
let folder: string;
let store: LogStore;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-logs-'));
  store = new LogStore(folder, { maxMib: 1, files: 2, vms: 10 });
});
afterEach(() => {
  store[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

const board = newLogBoard();
const record = (time: number, text: string, source: LogRecord['source'] = 'user'): LogRecord => ({
  ...{ time, source, priority: 'info', text },
});

async function run(options: RunCommandOptions, running = false) {
  const logs = new LogKeeper({ store, board, vms: {} as never, events: {} as never });
  const manager = { listVms: async () => (running ? [{ name: 'foo' }] : []) };
  const parts = { logs, manager } as unknown as CommandParts;
  const plugin = definePlugin({ name: 'test-logs', version: '1.0.0', setup: (ctx) => addLogs(ctx.commands, parts) });
  await using runtime = await createTestRuntime({ plugins: [plugin] });
  return runtime.run('logs', { args: ['foo'], ...options });
}

test('logs of a VM that has ended are shown, filtered, and as JSON', async () => {
  const now = Date.now();
  store.append(key, [
    ...[record(0, 'old'), record(now - 5_000, '[    0.100000] both', 'kernel')],
    ...[record(now - 4_000, '[    0.100000] both', 'console'), record(now - 1_000, 'a\u202eb', 'console')],
  ]);
  expect((await run({})).out.map((line) => line.slice(25))).toEqual([
    ...['user    old', 'kernel  [    0.100000] both', 'console a\\u{202e}b'],
  ]);
  expect((await run({ options: { lines: 1 } })).out).toHaveLength(1);
  expect((await run({ options: { since: '1m' } })).out).toHaveLength(2);
  expect((await run({ options: { source: ['console'] } })).out).toHaveLength(2);
  const [line = ''] = (await run({ options: { lines: 1, format: 'json' } })).out;
  expect(line).toContain('\\u202e');
  expect(JSON.parse(line)).toMatchObject({ source: 'console', priority: 'info', text: 'a\u202eb' });
});

test('following ends with the VM, and leaves nothing out', async () => {
  store.append(key, [record(1, 'before')]);
  const running = run({ options: { follow: true, source: ['user'] } }, true);
  const listening = () => (board.listeners.get(`${DEFAULT_OWNER}/foo`)?.size ?? 0) > 0;
  while (!listening()) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const source of ['user', 'kernel'] as const) {
    publish(board, `${DEFAULT_OWNER}/foo`, record(2, `then ${source}`, source));
  }
  publish(board, `${DEFAULT_OWNER}/foo`, undefined);
  expect((await running).out.map((line) => line.slice(33))).toEqual(['before', 'then user']);
  expect(listening()).toBe(false);
});

test('a VM that never was, and options that mean nothing, are refused', async () => {
  await expect(run({})).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_NOT_FOUND' });
  await expect(run({ options: { lines: -1 } })).rejects.toMatchObject({ code: 'CROSTINI_ERR_USAGE' });
  await expect(run({ options: { since: 'yesterday' } })).rejects.toThrow('neither a span');
});

test('a time is a span or a date', () => {
  expect(parseSince('90s', 100_000)).toBe(10_000);
  expect(parseSince('2d', 0)).toBe(-172_800_000);
  expect(parseSince('2026-12-01T10:00Z', 0)).toBe(Date.UTC(2026, 11, 1, 10));
  expect(() => parseSince('\u001b[2J', 0)).toThrow('\\x1b[2J');
});
