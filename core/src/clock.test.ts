import { describe, expect, test } from 'vitest';
import { sleep, systemClock, withDeadline } from './clock.ts';
import { fakeClock, flush } from './test-programs/fake-clock.ts';

const after = (ms: number): Promise<void> => new Promise((resolve) => void systemClock.after(ms, resolve));

describe('the system clock', () => {
  test('runs a timer once, and a disposed one never', async () => {
    // Unreferenced timers would let an empty loop end.
    const alive = setInterval(() => {}, 1_000);
    const log: string[] = [];
    systemClock.after(1, () => void log.push('disposed'))[Symbol.dispose]();
    systemClock.after(1, () => void log.push('kept'));
    await after(3);
    await after(3);
    clearInterval(alive);
    expect(log).toEqual(['kept']);
  });

  test.each([Number.POSITIVE_INFINITY, 2 ** 31, Number.MAX_SAFE_INTEGER])(
    'a timer of %d ms, more than setTimeout can count, does not fire at once',
    async (ms) => {
      const alive = setInterval(() => {}, 1_000);
      let fired = false;
      const timer = systemClock.after(ms, () => {
        fired = true;
      });
      // setTimeout would have made it 1 ms.
      await after(10);
      timer[Symbol.dispose]();
      clearInterval(alive);
      expect(fired).toBe(false);
    },
  );
});

describe('withDeadline', () => {
  const late = (): Error => new Error('late');

  test('gives what the work gives, and leaves no timer', async () => {
    const clock = fakeClock();
    await expect(withDeadline(clock, 10, Promise.resolve(7), late)).resolves.toBe(7);
    await expect(withDeadline(clock, 10, Promise.reject(new Error('own')), late)).rejects.toThrow('own');
    await flush();
    expect(clock.pending).toBe(0);
  });

  test('rejects at the deadline and not before; the work may still end without harm', async () => {
    const clock = fakeClock();
    const { promise, reject } = Promise.withResolvers<never>();
    let outcome = '';
    const guarded = withDeadline(clock, 10, promise, late).catch((error: Error) => {
      outcome = error.message;
    });
    clock.advance(9);
    await flush();
    expect(outcome).toBe('');
    clock.advance(1);
    await guarded;
    expect(outcome).toBe('late');
    reject(new Error('too late to matter'));
    await flush();
    expect(outcome).toBe('late');
  });
});

describe('sleep', () => {
  test('ends at its time', async () => {
    const clock = fakeClock();
    let awake = false;
    const sleeping = sleep(clock, 100).then(() => {
      awake = true;
    });
    clock.advance(99);
    await flush();
    expect(awake).toBe(false);
    clock.advance(1);
    await sleeping;
  });

  test('is ended by its signal, with the reason, leaving neither timer nor listener', async () => {
    const clock = fakeClock();
    const controller = new AbortController();
    const reason = new Error('stop');
    const sleeping = sleep(clock, 100, controller.signal);
    controller.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
    expect(clock.pending).toBe(0);
    await expect(sleep(clock, 100, controller.signal)).rejects.toBe(reason);
    expect(clock.pending).toBe(0);
  });
});
