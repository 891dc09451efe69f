// A process that was locked down opens what it was left, in all of its threads, and nothing else.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { landlockVersion } from './landlock.ts';

const folder = mkdtempSync(join(tmpdir(), 'landlock-'));
afterAll(() => rmSync(folder, { recursive: true }));
const ROOT = join(import.meta.dirname, '../../..');

function run(lockdown: unknown, files: readonly string[]) {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--conditions=@runtime/source', join(import.meta.dirname, 'test-programs/landlocked.ts'), ...files],
    {
      encoding: 'utf8',
      env: { PATH: '/usr/bin', RUNTIME_LOCKDOWN: typeof lockdown === 'string' ? lockdown : JSON.stringify(lockdown) },
    },
  );
  return { told: stdout === '' ? undefined : JSON.parse(stdout), stderr };
}

test.skipIf(landlockVersion() === 0)('only what the rules name is opened, by threads of the pool too', () => {
  const [inside, outside] = [join(folder, 'inside'), '/etc/passwd'];
  writeFileSync(inside, 'x');
  const rules = [ROOT, folder, '/usr', '/lib', '/lib64', '/does/not/exist'].map((path) => ({ path, access: 'rx' }));
  const { told, stderr } = run({ landlock: { rules, required: true } }, [inside, outside]);
  expect(stderr).toBe('');
  expect(told).toEqual({
    ...{ [inside]: 'ok', [`pool ${inside}`]: 'ok', variable: 'gone' },
    ...{ [outside]: 'EACCES', [`pool ${outside}`]: 'EACCES' },
  });
  // That the test bites.
  expect(run({}, [outside]).told[outside]).toBe('ok');
});

test('what is no lockdown ends the process before it does anything', () => {
  for (const wrong of [
    '{',
    '{"filter":7}',
    '{"landlock":{"rules":[{"path":"etc","access":"ro"}]}}',
    '{"landlock":{}}',
  ]) {
    const { told, stderr } = run(wrong, []);
    expect(told).toBeUndefined();
    expect(stderr).toContain('RUNTIME_LOCKDOWN');
  }
});
