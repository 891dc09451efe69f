import { expect, test } from 'vitest';
import { type CheckResult, CheckTable } from './checks.ts';
import { Scope } from './scope.ts';
import { fakeClock, flush } from './test-programs/fake-clock.ts';

function setup() {
  const clock = fakeClock();
  const table = new CheckTable(clock);
  const scope = new Scope('alpha');
  return { clock, table, scope, checks: table.view(scope) };
}
const ok: CheckResult = { status: 'ok', found: 'KVM is there' };

test('all checks run at once and are reported in the order in which they were added', async () => {
  const { table, checks, clock } = setup();
  const { promise, resolve } = Promise.withResolvers<CheckResult>();
  let second = false;
  checks.add('slow', () => promise);
  table.view(new Scope('beta')).add('quick', () => {
    second = true;
    return { status: 'warn', found: 'old', remedy: 'Update it.' };
  });
  const running = table.run();
  expect(second).toBe(true);
  resolve(ok);
  expect(await running).toEqual([
    { plugin: 'alpha', name: 'slow', ...ok },
    { plugin: 'beta', name: 'quick', status: 'warn', found: 'old', remedy: 'Update it.' },
  ]);
  await flush();
  expect(clock.pending).toBe(0);
});

test('one that throws, rejects or hangs has failed, and the others are reported all the same', async () => {
  const { table, checks, clock } = setup();
  checks.add('throws', () => {
    throw new Error('at once');
  });
  checks.add('rejects', () => Promise.reject('just text'));
  checks.add('hangs', () => new Promise(() => {}));
  checks.add('fine', async () => ok);
  const running = table.run();
  await flush();
  clock.advance(10_000);
  const remedy = 'Report it to the author of alpha.';
  expect(await running).toEqual([
    { plugin: 'alpha', name: 'throws', status: 'fail', found: 'the check itself failed: at once', remedy },
    { plugin: 'alpha', name: 'rejects', status: 'fail', found: 'the check itself failed: just text', remedy },
    {
      plugin: 'alpha',
      name: 'hangs',
      status: 'fail',
      found: 'the check itself failed: no answer within 10000 ms',
      remedy,
    },
    { plugin: 'alpha', name: 'fine', ...ok },
  ]);
});

test('a check ends with its registration, and with its plugin', async () => {
  const { table, checks, scope } = setup();
  checks.add('disposed', () => ok)[Symbol.dispose]();
  checks.add('kept', () => ok);
  expect((await table.run()).map(({ name }) => name)).toEqual(['kept']);
  await scope.close();
  expect(await table.run()).toEqual([]);
  expect(() => checks.add('late', () => ok)).toThrow(/unloaded/);
  expect(await table.run()).toEqual([]);
});
