import { describe, expect, test } from 'vitest';
import { isRuntimeError } from './errors.ts';
import { Scope } from './scope.ts';
import { flush } from './test-programs/fake-clock.ts';

describe('closing', () => {
  test('runs every cleanup once, newest first, and waits for each before the next', async () => {
    const scope = new Scope('alpha');
    const log: string[] = [];
    scope.defer('first', () => void log.push('first'));
    scope.defer('second', async () => {
      log.push('second begins');
      await flush();
      log.push('second ends');
    });
    scope.defer('third', () => void log.push('third'));
    expect(scope.labels).toEqual(['first', 'second', 'third']);

    await Promise.all([scope.close(), scope.close(), scope[Symbol.asyncDispose]()]);

    expect(log).toEqual(['third', 'second begins', 'second ends', 'first']);
    expect(scope.labels).toEqual([]);
    expect(scope.closed).toBe(true);
  });

  test('aborts the signal with the reason, before any cleanup runs', async () => {
    const scope = new Scope('alpha');
    const reason = new Error('reloaded');
    let aborted: boolean | undefined;
    scope.defer('look', () => {
      aborted = scope.signal.aborted;
    });
    expect(scope.signal.aborted).toBe(false);

    const closing = scope.close(reason);

    expect(scope.closed).toBe(true);
    await closing;
    expect(aborted).toBe(true);
    expect(scope.signal.reason).toBe(reason);
  });

  test('runs all cleanups although some fail, and tells of every failure by its label', async () => {
    const scope = new Scope('alpha');
    const log: string[] = [];
    scope.defer('a', () => void log.push('a'));
    scope.defer('b', () => {
      throw new Error('thrown');
    });
    scope.defer('c', () => Promise.reject(new Error('rejected')));
    scope.defer('d', () => void log.push('d'));

    const failure: unknown = await scope.close().catch((error: unknown) => error);

    expect(log).toEqual(['d', 'a']);
    expect(failure).toBeInstanceOf(AggregateError);
    const { errors } = failure as AggregateError;
    expect(errors.map((e: Error) => [e.message, (e.cause as Error).message])).toEqual([
      ['cleanup "c" of alpha failed', 'rejected'],
      ['cleanup "b" of alpha failed', 'thrown'],
    ]);
    expect(errors.every((e: unknown) => isRuntimeError(e, 'CORE_ERR_CLEANUP'))).toBe(true);
  });

  test('passes over what an earlier cleanup has disposed', async () => {
    const scope = new Scope('alpha');
    let runs = 0;
    const inner = scope.defer('inner', () => {
      runs += 1;
    });
    scope.defer('outer', () => inner[Symbol.dispose]());

    await scope.close();

    expect(runs).toBe(1);
  });
});

describe('disposing one registration', () => {
  test('runs its cleanup at once and never again', async () => {
    const scope = new Scope('alpha');
    let runs = 0;
    const registration = scope.defer('x', () => {
      runs += 1;
    });

    registration[Symbol.dispose]();
    expect(runs).toBe(1);
    expect(scope.labels).toEqual([]);
    registration[Symbol.dispose]();
    await scope.close();

    expect(runs).toBe(1);
  });

  test('leaves no trace of a hundred thousand of them', () => {
    const scope = new Scope('alpha');
    scope.defer('stays', () => {});
    for (let i = 0; i < 100_000; i++) scope.defer('goes', () => {})[Symbol.dispose]();
    expect(scope.labels).toEqual(['stays']);
  });
});

describe('after closing began', () => {
  test.each([
    ['while a cleanup runs', false],
    ['when it is over', true],
  ])('a registration is refused and cleaned up at once: %s', async (_when, over) => {
    const scope = new Scope('alpha');
    let cleaned = false;
    let refusal: unknown;
    const tryIt = (): void => {
      try {
        scope.defer('late timer', () => {
          cleaned = true;
        });
      } catch (error) {
        refusal = error;
      }
    };
    if (!over) scope.defer('tries', tryIt);
    await scope.close();
    if (over) tryIt();
    await flush();

    expect(isRuntimeError(refusal, 'CORE_ERR_SCOPE_CLOSED')).toBe(true);
    expect((refusal as Error).message).toBe('alpha registered "late timer" after it was unloaded');
    expect(cleaned).toBe(true);
    expect(scope.labels).toEqual([]);
  });

  test('the failure of such a cleanup is nobody’s unhandled rejection', async () => {
    const scope = new Scope('alpha');
    await scope.close();
    const unhandled: unknown[] = [];
    const listener = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', listener);
    try {
      expect(() => scope.defer('late', () => Promise.reject(new Error('no')))).toThrow(/late/);
      await flush();
      await flush();
    } finally {
      process.off('unhandledRejection', listener);
    }
    expect(unhandled).toEqual([]);
  });
});

describe('use', () => {
  test('returns the value and disposes it with the scope, asynchronously where it can', async () => {
    const scope = new Scope('alpha');
    const log: string[] = [];
    const sync = { [Symbol.dispose]: () => void log.push('sync') };
    const both = {
      [Symbol.dispose]: () => void log.push('the wrong one'),
      [Symbol.asyncDispose]: async () => {
        await flush();
        log.push('async');
      },
    };
    expect(scope.use('sync', sync)).toBe(sync);
    expect(scope.use('both', both)).toBe(both);

    await scope.close();

    expect(log).toEqual(['async', 'sync']);
  });
});
