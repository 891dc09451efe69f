// The live view on a real terminal, as script(1) gives one.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HELLO, Home, ROOT } from './command-line.ts';

const isMissing = spawnSync('script', ['--version']).error !== undefined;
if (isMissing) console.log('skipped: script (util-linux) is not installed');

let home: Home;
let children: ChildProcess[];
beforeEach(() => {
  home = new Home();
  children = [];
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  home[Symbol.dispose]();
});

interface OnTerminal {
  readonly child: ChildProcess;
  /** Everything that was sent to the terminal. */
  sent(): string;
  type(keys: string): void;
  shows(pattern: RegExp): Promise<void>;
  readonly ended: Promise<unknown>;
}

function onTerminal(columns: number, rows: number, args: readonly string[]): OnTerminal {
  const runtime = `'${process.execPath}' --conditions=@runtime/source '${ROOT}/sdk/bin/runtime.mjs' ${args.join(' ')}`;
  const command = `stty cols ${columns} rows ${rows}; ${runtime}; echo code=$?; stty -a | tr ';' '\\n' | grep -w -e echo -e icanon`;
  const child = spawn('script', ['-qfec', command, '/dev/null'], {
    env: { ...home.env, TERM: 'xterm' },
    cwd: home.folder,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return {
    child,
    sent: () => text,
    type: (keys) => void child.stdin?.write(keys),
    shows: (pattern) => expect.poll(() => stripVTControlCharacters(text), { timeout: 15_000 }).toMatch(pattern),
    ended: once(child, 'close'),
  };
}

describe.skipIf(isMissing)('the live view', () => {
  test('is drawn in place, within the terminal, and leaves it as it was', async () => {
    const view = onTerminal(60, 12, ['--plugins', HELLO]);
    await view.shows(/hello +ready/);
    await home.run(['hello', 'greet', 'somebody with a name that is much longer than the line of this terminal']);
    await view.shows(/#\d+ hello:greeted/);
    view.type('\x03');
    await view.ended;
    const sent = view.sent();
    // One frame starts where the last one started, and clears it.
    expect(sent.split('A\r\x1b[J').length).toBeGreaterThan(2);
    const drawn = sent.slice(0, sent.indexOf('code='));
    for (const line of drawn.split('\n').filter((text) => !text.includes('listening on'))) {
      const seen = stripVTControlCharacters(line)
        .split('\r')
        .map((part) => part.length);
      expect(Math.max(...seen), JSON.stringify(line)).toBeLessThan(60);
    }
    const frames = sent.split('\x1b[J').slice(1, -1);
    for (const frame of frames) expect(frame.split('\n').length).toBeLessThanOrEqual(12);
    expect(sent.lastIndexOf('\x1b[?25h')).toBeGreaterThan(sent.lastIndexOf('\x1b[?25l'));
    expect(sent).toContain('code=0');
    // Keys are shown and lines are edited again.
    const after = sent.slice(sent.indexOf('code=0'));
    expect(after).toMatch(/(?<!-)\becho\b/);
    expect(after).toMatch(/(?<!-)\bicanon\b/);
  });

  test('takes two ctrl+c that are so close for one', async () => {
    const view = onTerminal(100, 30, ['--plugins', HELLO]);
    await view.shows(/hello +ready/);
    view.type('\x03');
    view.type('\x03');
    await view.ended;
    // Two that close are one.
    expect(view.sent()).toContain('code=0');
  });
});
