import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RpcClient } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';
import { newLogBoard } from './log-board.ts';
import { LogKeeper, lineOf, onceEach } from './log-keeper.ts';
import type { LogRecord } from './log-records.ts';
import { LogStore } from './log-store.ts';

const key = { owner: 'ab', name: 'foo' };

let folder: string;
let stack: DisposableStack;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keeper-'));
  stack = new DisposableStack();
});
afterEach(() => {
  stack.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** A console that gives out what is pushed. */
class Console {
  bytes = Buffer.alloc(0);
  ended = false;
  readonly asked: (number | undefined)[] = [];
  readonly readConsole = async (_: string, request: { readonly from?: number } = {}) => {
    const { from = 0 } = request;
    this.asked.push(request.from);
    for (let i = 0; i < 20 && from >= this.bytes.length && !this.ended; i++) await new Promise((r) => setTimeout(r, 5));
    return { bytes: this.bytes.subarray(from), next: this.bytes.length, missed: 0, ended: this.ended };
  };
  say(text: string): void {
    this.bytes = Buffer.concat([this.bytes, Buffer.from(text)]);
  }
}

async function watched(board = newLogBoard(), console = new Console()) {
  const store = stack.use(new LogStore(join(folder, 'logs'), { maxMib: 1, files: 2, vms: 10 }));
  const told: unknown[] = [];
  const emit = (topic: string, data: unknown): void => void told.push([topic, data]);
  const keeper = new LogKeeper({ store, board, vms: console, events: { emit } as never });
  const socketPath = (port: number): string => join(folder, `s.${port}`);
  const watch = stack.use(await keeper.watch({ key, machine: 'm', socketPath, isEnding: () => false }));
  const guest = stack.use(new RpcClient(guestWire, 'vm_tools.LogCollector', `unix:${socketPath(9999)}`));
  const crash = stack.use(new RpcClient(guestWire, 'vm_tools.cicerone.CrashListener', `unix:${socketPath(7779)}`));
  const sources = async () => (await keeper.read(key)).map(({ source, text }) => `${source} ${text}`);
  return { keeper, watch, guest, crash, console, told, sources, board };
}

const kernel = (text: string) => ({ records: [{ content: Buffer.from(text) }] });

test('console, kernel and crashes come together, each line once', async () => {
  const { keeper, watch, guest, crash, console, told, sources } = await watched();
  watch.watchConsole();
  console.say('SeaBIOS\r\n[    0.100000] hello \u001b[31mred\u001b[0m\r\nlogin: ');
  await vi.waitFor(async () => expect(await sources()).toContain('console login:'), { timeout: 3_000 });
  await guest.call.CollectKernelLogs(kernel('[    0.100000] hello red'));
  await guest.call.CollectKernelLogs(kernel('[    0.200000] not on the console'));
  await crash.call.SendFailureReport({ failed_process: 'vm_syslog' });
  expect(await sources()).toEqual([
    ...['console SeaBIOS', 'console [    0.100000] hello red', 'console login:'],
    ...['kernel [    0.200000] not on the console', 'crash vm_syslog ended, and is to run always'],
  ]);
  expect(told).toEqual([
    ['termina:crash', { vm: 'foo', owner: 'ab', process: 'vm_syslog', why: 'ended, and is to run always' }],
  ]);
  expect(await keeper.crashes(key)).toHaveLength(1);
  expect(await keeper.text(key)).toMatch(/^\S+Z console SeaBIOS\n\S+Z console \[ {4}0.100000] hello red\n/);
});

test('what the machine wrote last is in the log when it has ended, and followers hear the end', async () => {
  const { keeper, watch, console, sources } = await watched();
  watch.watchConsole();
  using follower = keeper.follow(key, new AbortController().signal);
  console.say('Kernel panic - not syncing');
  console.ended = true;
  await watch.drain();
  keeper.ended(key);
  expect(await sources()).toEqual(['console Kernel panic - not syncing']);
  const heard: string[] = [];
  for await (const { text } of follower) heard.push(text);
  expect(heard).toEqual(['Kernel panic - not syncing']);
});

test('new code goes on where the old one was, and followers stay', async () => {
  const before = await watched();
  before.watch.watchConsole();
  using follower = before.keeper.follow(key, new AbortController().signal);
  before.console.say('one\n');
  await vi.waitFor(async () => expect(await before.sources()).toEqual(['console one']), { timeout: 3_000 });
  before.watch[Symbol.dispose]();
  const after = await watched(before.board, before.console);
  after.watch.watchConsole();
  after.console.say('two\n');
  await vi.waitFor(async () => expect(await after.sources()).toEqual(['console one', 'console two']), {
    timeout: 3_000,
  });
  const heard: string[] = [];
  for await (const { text } of follower) {
    heard.push(text);
    if (heard.length === 2) break;
  }
  expect(heard).toEqual(['one', 'two']);
});

test('a follower that is slow is told what it missed', async () => {
  const { keeper, guest } = await watched();
  using follower = keeper.follow(key, new AbortController().signal);
  const records = Array.from({ length: 1_000 }, (_, at) => ({ content: Buffer.from(`${at}`) }));
  for (let i = 0; i < 5; i++) await guest.call.CollectUserLogs({ records });
  keeper.ended(key);
  const heard: string[] = [];
  for await (const { text } of follower) heard.push(text);
  expect(heard[0]).toBe('(904 lines were left out: they came faster than they could be shown)');
  expect(heard).toHaveLength(4_097);
});

test('a line of the kernel that comes both ways is shown once, and again at the next start', () => {
  const isNew = onceEach();
  const of = (source: LogRecord['source'], time: number, text = '[    0.000000] Linux'): boolean =>
    isNew({ source, time, priority: 'info', text });
  expect([of('console', 0), of('kernel', 100), of('console', 60_000), of('kernel', 60_100)]).toEqual([
    ...[true, false, true, false],
  ]);
  expect([of('console', 0, 'same'), of('user', 0, 'same')]).toEqual([true, true]);
});

test('a line shows nothing that a terminal would obey', () => {
  expect(lineOf({ time: 0, source: 'user', priority: 'info', text: 'a\u001b]0;b\u0007\u202e' })).toBe(
    '1970-01-01T00:00:00.000Z user    a\\x1b]0;b\\x07\\u{202e}',
  );
});
