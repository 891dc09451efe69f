import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CommandPrinter } from './command-output.ts';
import { noPaint, type Terminal } from './terminal.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

function printer(errIsTTY: boolean): { readonly printer: CommandPrinter; readonly told: string[] } {
  const told: string[] = [];
  const terminal: Terminal = {
    out: async () => {},
    err: async (text) => void told.push(String(text)),
    size: { isTTY: errIsTTY, columns: 20, rows: 5 },
    followSize: () => ({ sizes: (async function* () {})(), [Symbol.dispose]() {} }),
    paint: noPaint,
    paintErr: noPaint,
    errIsTTY,
  };
  return { printer: new CommandPrinter(terminal, 'table'), told };
}

test('progress is one line of a terminal, which is written over and goes', async () => {
  const { printer: shown, told } = printer(true);
  await shown.print({ kind: 'progress', stage: 'unpacking\x1b[2J what is long', fraction: 0.5 });
  await shown.done();
  expect(told).toHaveLength(2);
  const [head = '', text = ''] = (told[0] ?? '').split('\x1b[K');
  expect([head, text.length]).toEqual(['\r', 19]);
  expect(text).not.toContain('\x1b');
  expect(told[1]).toBe('\r\x1b[K');
});

test('elsewhere it is a line now and then of what takes long', async () => {
  const { printer: shown, told } = printer(false);
  const stage = (name: string): Promise<void> => shown.print({ kind: 'progress', stage: name });
  await stage('short');
  vi.advanceTimersByTime(11_000);
  await stage('one');
  await stage('two');
  vi.advanceTimersByTime(11_000);
  await stage('three\nlines');
  await shown.done();
  expect(told).toEqual(['one…\n', 'three lines…\n']);
});
