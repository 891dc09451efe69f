import { sleep, withDeadline } from '@runtime/core';
import { expect, test } from 'vitest';
import { FakeClock } from './fake-clock.ts';

test('timers run when they are due, in order, each at its own time', () => {
  const clock = new FakeClock(1_000);
  const ran: string[] = [];
  const note = (name: string) => () => void ran.push(`${name} at ${clock.now()}`);
  clock.after(20, note('b'));
  clock.after(10, note('a'));
  clock.after(20, note('c'));
  clock.after(10, () => clock.after(5, note('from a')));
  const cancelled = clock.after(15, note('cancelled'));
  clock.advance(9);
  expect(ran).toEqual([]);
  cancelled[Symbol.dispose]();
  clock.advance(10);
  expect(ran).toEqual(['a at 1010', 'from a at 1015']);
  expect(clock.now()).toBe(1_019);
  expect(clock.nextMs).toBe(1);
  clock.advance(100);
  expect(ran.slice(2)).toEqual(['b at 1020', 'c at 1020']);
  expect(clock.pending).toBe(0);
  expect(clock.nextMs).toBeUndefined();
});

test('advanceAsync lets what a timer started go on before the next one', async () => {
  const clock = new FakeClock();
  const ran: string[] = [];
  const naps = async (): Promise<void> => {
    for (const nap of [1, 2, 3]) {
      await sleep(clock, 10);
      ran.push(`nap ${nap} at ${clock.now()}`);
    }
  };
  const done = naps();
  await clock.advanceAsync(30);
  await done;
  expect(ran).toEqual(['nap 1 at 10', 'nap 2 at 20', 'nap 3 at 30']);
});

test('deadlines of the core follow it', async () => {
  const clock = new FakeClock();
  const late = withDeadline(clock, 1_000, new Promise(() => {}), () => new Error('late'));
  const failed = expect(late).rejects.toThrow('late');
  await clock.advanceAsync(1_000);
  await failed;
});

test('timers that start each other at once are an error, not a hang', () => {
  const clock = new FakeClock();
  const again = (): void => void clock.after(0, again);
  again();
  expect(() => clock.advance(1)).toThrow(/without time passing/);
});
