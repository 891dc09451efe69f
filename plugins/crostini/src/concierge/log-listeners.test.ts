import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageInit } from '@runtime/sdk/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RpcClient } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';
import { type Crash, listenForCrashes } from './crash-listener.ts';
import { LogBudget } from './log-budget.ts';
import { listenForLogs, logHandlers } from './log-collector.ts';
import { type LogRecord, MAX_LINE } from './log-records.ts';

type Sent = MessageInit<typeof guestWire.table, 'vm_tools.LogRecord'>;

let folder: string;
let stack: DisposableStack;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'listen-'));
  stack = new DisposableStack();
});
afterEach(() => {
  stack.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const NOW = Date.parse('2026-01-02T03:04:05Z');

async function logs(since = NOW - 60_000) {
  const path = join(folder, 'logs');
  const records: LogRecord[] = [];
  let now = NOW;
  const append = (more: readonly LogRecord[]): void => void records.push(...more);
  stack.use(await listenForLogs(path, { since, append, now: () => now }));
  const { call } = stack.use(new RpcClient(guestWire, 'vm_tools.LogCollector', `unix:${path}`));
  const send = (...list: readonly Sent[]) => call.CollectUserLogs({ records: list }, { deadlineMs: 5_000 });
  const later = (ms: number): void => {
    now += ms;
  };
  return { records, call, send, later };
}

const said = (text: string, ms = NOW): Sent => ({
  ...{ severity: 'WARNING', content: Buffer.from(text) },
  timestamp: { seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1_000_000 },
});

test('records are taken with their time and their priority, line by line', async () => {
  const { records, call, send } = await logs();
  await send(said('one\ntwo\n', NOW - 1_500));
  await call.CollectKernelLogs({ records: [{ content: Buffer.from('[    0.000000] Linux') }] });
  expect(records).toEqual([
    { time: NOW - 1_500, source: 'user', priority: 'warning', text: 'one' },
    { time: NOW - 1_500, source: 'user', priority: 'warning', text: 'two' },
    { time: NOW, source: 'kernel', priority: 'info', text: '[    0.000000] Linux' },
  ]);
});

test.each([
  ['the future', 9e18],
  ['1970', 0],
  ['before that', -9e18],
])('a time in %s is not believed', async (_, ms) => {
  const { records, send } = await logs(NOW - 60_000);
  const seconds = BigInt(Math.trunc(ms));
  await send({ content: Buffer.from('a'), timestamp: { seconds, nanos: -(2 ** 31) } });
  expect(records[0]?.time).toBe(ms > 0 ? NOW : NOW - 60_000);
});

test('who logs too much is cut short, is told so, and is heard again later', async () => {
  const { records, send, later } = await logs();
  const long = 'x'.repeat(30_000);
  for (let i = 0; i < 10; i++) await send(...Array.from({ length: 10 }, () => said(long)));
  const bytes = records.reduce((sum, { text }) => sum + text.length, 0);
  expect(bytes).toBeLessThan(35 * (MAX_LINE + 100));
  expect(records.at(-1)?.text).toBe('(10 lines were dropped: this VM logs too much)');
  later(10_000);
  await send(said('again'));
  expect(records.at(-1)?.text).toBe('again');
});

test('a message that is too large is refused', async () => {
  const { records, send } = await logs();
  await expect(send(said('x'.repeat(2 ** 20)))).rejects.toMatchObject({ code: 8 });
  expect(records).toEqual([]);
});

test('severities that nobody knows are plain', async () => {
  const records: LogRecord[] = [];
  const handlers = logHandlers({ since: 0, append: (more) => void records.push(...more) });
  const message = guestWire.decode('vm_tools.LogRequest', Buffer.from([0x0a, 5, 0x08, 77, 0x2a, 1, 0x61]));
  await handlers.CollectUserLogs(message, { signal: new AbortController().signal });
  expect(records).toMatchObject([{ text: 'a', priority: 'info' }]);
});

async function crashes(isEnding = () => false) {
  const path = join(folder, 'crash');
  const reports: Crash[] = [];
  const now = { ms: 0 };
  const report = (crash: Crash): void => void reports.push(crash);
  stack.use(await listenForCrashes(path, { report, isEnding, now: () => now.ms }));
  const { call } = stack.use(new RpcClient(guestWire, 'vm_tools.cicerone.CrashListener', `unix:${path}`));
  return { reports, call, now };
}

test('crashes and failures are told in words that can be shown', async () => {
  const { reports, call } = await crashes();
  expect(await call.CheckMetricsConsent({})).toEqual({ consent_granted: true });
  await call.SendFailureReport({ failed_process: 'tremplin\u001b[2J' });
  const metadata = new Map([
    ['exec_name', 'x'.repeat(1_000)],
    ['pid', '12; rm'],
    ['sig', '11\n'],
  ]);
  await call.SendCrashReport({ metadata, minidump: Buffer.alloc(1_000) });
  await call.SendCrashReport({});
  expect(reports).toEqual([
    { process: 'tremplin\\x1b[2J', why: 'ended, and is to run always' },
    { process: 'x'.repeat(64), why: 'crashed: 11\\x0a, with 1000 bytes of memory, which are not kept' },
    { process: 'a program', why: 'crashed: no reason is given' },
  ]);
});

test('reports are bounded, and a VM that is being stopped may end its programs', async () => {
  let ending = false;
  const { reports, call, now } = await crashes(() => ending);
  for (let i = 0; i < 50; i++) await call.SendFailureReport({ failed_process: 'a' });
  expect(reports).toHaveLength(20);
  now.ms = 10_000;
  await call.SendFailureReport({ failed_process: 'b' });
  ending = true;
  await call.SendFailureReport({ failed_process: 'c' });
  expect(reports.slice(20)).toMatchObject([{ process: 'b' }]);
});

test('a budget fills up again, and never beyond its burst', () => {
  let now = 0;
  const budget = new LogBudget({ burst: 100, perSecond: 10 }, () => now);
  expect([budget.take(60), budget.take(60), budget.take(40), budget.take(1)]).toEqual([true, false, true, false]);
  expect([budget.takeRefused(), budget.takeRefused()]).toEqual([2, 0]);
  now = 1_000;
  expect([budget.take(10), budget.take(1)]).toEqual([true, false]);
  now = 1e9;
  expect([budget.take(101), budget.take(100)]).toEqual([false, true]);
});
