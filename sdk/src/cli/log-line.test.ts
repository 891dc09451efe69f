import { expect, it } from 'vitest';
import { logLineText } from './log-line.ts';

const line = (fields: object): string => logLineText(JSON.stringify({ time: 1, ...fields }));

it.each([
  [{ level: 30, plugin: 'hello', msg: 'Hello.' }, 'hello        Hello.'],
  [{ level: 40, msg: 'careful' }, 'runtime      warning: careful'],
  [{ level: 30, plugin: 'vmm', msg: 'booted', cid: 3, name: 'hidden' }, 'vmm          booted cid=3'],
  [
    { level: 50, plugin: 'vmm', msg: 'lost it', err: { message: 'no disk', code: 'VMM_ERR_DISK', stack: '…' } },
    'vmm          error: lost it (no disk [VMM_ERR_DISK])',
  ],
])('%j reads %j', (fields, text) => {
  expect(line(fields)).toBe(text);
});

it('lets nobody write to the terminal but as text', () => {
  const hostile = line({ level: 30, plugin: 'a\x1b[2J', msg: 'b\x1b]0;c\x07', k: '\x9b2J' });
  for (const control of ['\x07', '\x1b', '\x9b']) expect(hostile).not.toContain(control);
  expect(logLineText('not JSON \x1b[2J')).toBe('not JSON \\x1b[2J');
});
