import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isRuntimeError, type RuntimeError } from './errors.ts';
import { Gate } from './gate.ts';
import { inPhaseOf } from './phase.ts';
import { callerOfService, ServiceTable } from './services.ts';
import { type FakeClock, fakeClock, flush } from './test-programs/fake-clock.ts';
import { defineService } from './tokens.ts';
import { type TraceRecord, Tracer } from './tracing.ts';

interface Greeter {
  greet(name: string): Promise<string>;
  later(): Promise<string>;
}
const greeter = defineService<Greeter>('greeter', { version: '1.2.0' });
const other = defineService<Greeter>('other', { version: '2.0.0', rebind: 'restart' });

const SWAP_MS = 1_000;

interface Setup {
  readonly table: ServiceTable;
  readonly clock: FakeClock;
  readonly tracer: Tracer;
  readonly gate: Gate;
}

function setup(): Setup {
  const clock = fakeClock();
  const tracer = new Tracer('services');
  const table = new ServiceTable({ tracer, swapMs: SWAP_MS });
  const gate = new Gate('provider', clock);
  table.assign(greeter, gate);
  return { table, clock, tracer, gate };
}

/** A provider that serves. */
function serving(
  implementation: Partial<Record<keyof Greeter, unknown>> & object,
): Setup & { readonly handle: Greeter } {
  const all = setup();
  all.table.implement('greeter', 'provider', implementation);
  all.gate.openUp();
  return { ...all, handle: handleOf(all.table) };
}

function handleOf(table: ServiceTable, consumer = 'consumer'): Greeter {
  return table.handle(greeter, consumer) ?? expect.fail('nobody provides it');
}

async function failure(call: Promise<unknown>): Promise<RuntimeError> {
  const error = await call.then(
    (value) => expect.fail(`it gave ${String(value)}`),
    (e: unknown) => e,
  );
  return isRuntimeError(error) ? error : expect.fail(String(error));
}

describe('a handle', () => {
  test('forwards arguments and answers, with the implementation as `this`', async () => {
    class Polite {
      #word = 'Good day';
      greet(name: string): Promise<string> {
        return Promise.resolve(`${this.#word}, ${name}`);
      }
    }
    const { handle } = serving(new Polite());
    expect(await handle.greet('Ada')).toBe('Good day, Ada');
  });

  test('may be had before there is an implementation, and asks for it at each call', async () => {
    const { table, gate } = setup();
    const handle = handleOf(table);
    const { greet } = handle;
    const error = await failure(inPhaseOf('provider', () => greet('x')));
    expect([error.code, error.message]).toEqual([
      'CORE_ERR_SERVICE_GONE',
      'the call greeter.greet found its provider provider not set up',
    ]);
    gate.openUp();
    table.implement('greeter', 'provider', { greet: async () => 'first' });
    expect(await greet('x')).toBe('first');
    table.implement('greeter', 'provider', { greet: async () => 'second' });
    expect(await greet('x')).toBe('second');
    expect(handle.greet).toBe(greet);
  });

  test('turns what a method returns or throws at once into a promise', async () => {
    const { handle } = serving({
      greet: () => 'at once',
      later: () => {
        throw new Error('at once');
      },
    });
    const call = handle.greet('x');
    expect(call).toBeInstanceOf(Promise);
    expect(await call).toBe('at once');
    let thrown: unknown;
    const rejected = handle.later().catch((error: unknown) => {
      thrown = error;
    });
    expect(thrown).toBeUndefined();
    await rejected;
    expect(thrown).toEqual(new Error('at once'));
  });

  test('passes errors on as they are', async () => {
    const own = new Error('own');
    const { handle } = serving({ greet: () => Promise.reject(own) });
    await expect(handle.greet('x')).rejects.toBe(own);
  });

  test('says which method a provider does not have', async () => {
    const { handle } = serving({ greet: 'not a function' });
    for (const method of ['greet', 'later'] as const) {
      const error = await failure(handle[method]('x'));
      expect([error.code, error.message]).toEqual([
        'CORE_ERR_SERVICE_METHOD',
        `service "greeter" of provider has no method "${method}"`,
      ]);
    }
  });

  test.each([
    'then',
    'constructor',
    '__proto__',
    'hasOwnProperty',
    'toString',
    'valueOf',
    'toJSON',
    '__defineGetter__',
  ])('never calls %s of a provider', (name) => {
    let called = false;
    const implementation = Object.defineProperty({}, name, {
      value: () => {
        called = true;
      },
    });
    const handle = serving(implementation).handle as unknown as Record<string, unknown>;
    expect(handle[name]).toBeUndefined();
    expect(name in handle).toBe(false);
    expect(called).toBe(false);
  });

  test('may be awaited and printed without harm', async () => {
    const calls: string[] = [];
    const implementation = new Proxy(
      {},
      {
        get: (_, key) => {
          calls.push(String(key));
        },
      },
    );
    const { handle } = serving(implementation);
    // Not toEqual, which itself looks for methods.
    expect((await handle) === handle).toBe(true);
    expect((await Promise.all([handle]))[0] === handle).toBe(true);
    expect(() => inspect(handle)).not.toThrow();
    expect(() => JSON.stringify({ handle })).not.toThrow();
    expect((handle as unknown as Record<symbol, unknown>)[Symbol.iterator]).toBeUndefined();
    expect(calls).toEqual([]);
  });

  test('tells with `in` whether the provider has a method', () => {
    const { handle, table } = serving({ greet: async () => '' });
    expect('greet' in handle).toBe(true);
    expect('later' in handle).toBe(false);
    table.release('provider');
    expect('greet' in handle).toBe(false);
  });

  test('cannot be changed', async () => {
    const { handle } = serving({ greet: async () => 'real' });
    const steal = (): void => {
      handle.greet = async () => 'stolen';
    };
    expect(steal).toThrow(TypeError);
    expect(await handle.greet('x')).toBe('real');
    expect(steal).toThrow(TypeError);
    expect(await handle.greet('x')).toBe('real');
  });

  test('is nothing for a service that nobody ever provided', () => {
    expect(setup().table.handle(other, 'consumer')).toBeUndefined();
  });
});

describe('the caller', () => {
  test('is known to the method until its first await, also through nested calls', async () => {
    const { table, gate, clock } = setup();
    const log: (string | undefined)[] = [];
    const second = new Gate('second', clock);
    table.assign(other, second);
    second.openUp();
    gate.openUp();
    table.implement('other', 'second', {
      async greet() {
        log.push(callerOfService());
        return 'second';
      },
      later() {
        log.push(callerOfService());
        throw new Error('at once');
      },
    });
    const inner = table.handle(other, 'provider') as Greeter;
    table.implement('greeter', 'provider', {
      async greet() {
        log.push(callerOfService());
        const nested = inner.greet('x');
        const failing = inner.later().catch(() => {});
        log.push(callerOfService());
        await Promise.all([nested, failing]);
        log.push(callerOfService());
        return 'first';
      },
    });
    const call = handleOf(table, 'alice').greet('x');
    log.push(callerOfService());
    await call;
    expect(log).toEqual(['alice', 'provider', 'provider', 'alice', undefined, undefined]);
  });

  test('is not left behind by a method that throws', async () => {
    const { handle } = serving({
      greet: () => {
        throw new Error('no');
      },
    });
    await handle.greet('x').catch(() => {});
    expect(callerOfService()).toBeUndefined();
  });

  test('is each consumer by its own handle, also when its call had to wait', async () => {
    const { table, gate } = setup();
    table.implement('greeter', 'provider', { greet: async (name: string) => `${name} for ${callerOfService()}` });
    const calls = ['alice', 'bob'].map((who) => handleOf(table, who).greet(who));
    gate.openUp();
    expect(await Promise.all(calls)).toEqual(['alice for alice', 'bob for bob']);
  });
});

describe('while the provider is reloaded', () => {
  test('calls wait in order, go to the new instance, and before any that come later', async () => {
    const { table, gate, handle } = serving({ greet: async () => 'old' });
    const log: string[] = [];
    gate.close();
    table.release('provider');
    const first = handle.greet('1');
    const second = handleOf(table, 'somebody else').greet('2');
    await flush();
    table.implement('greeter', 'provider', {
      greet(name: string) {
        log.push(name);
        return `new ${name}`;
      },
    });
    await flush();
    expect(log).toEqual([]);
    expect(gate.waiting).toBe(2);
    gate.openUp();
    const third = handle.greet('3');
    expect(log).toEqual(['1', '2', '3']);
    expect(await Promise.all([first, second, third])).toEqual(['new 1', 'new 2', 'new 3']);
  });

  test('a call waits no longer than it may, and is not made afterwards', async () => {
    const { gate, clock, handle, table } = serving({ greet: async () => 'old' });
    gate.close();
    let calls = 0;
    table.implement('greeter', 'provider', {
      greet: () => {
        calls += 1;
      },
    });
    const outcome = failure(handle.greet('x'));
    clock.advance(SWAP_MS - 1);
    await flush();
    expect(gate.waiting).toBe(1);
    clock.advance(1);
    const error = await outcome;
    expect([error.code, error.message, error.retryable]).toEqual([
      'CORE_ERR_SERVICE_SWAP_TIMEOUT',
      `the call greeter.greet waited ${SWAP_MS} ms for provider, which is being reloaded`,
      true,
    ]);
    gate.openUp();
    expect(calls).toBe(0);
  });

  test('what the provider itself set in motion does not wait, however indirect', async () => {
    const { gate, handle, table } = serving({ greet: async (name: string) => `to ${name}` });
    gate.close();
    const own = handleOf(table, 'provider');
    expect(await own.greet('itself')).toBe('to itself');
    const indirect = await inPhaseOf('provider', async () => {
      await flush();
      return handle.greet('itself through another');
    });
    expect(indirect).toBe('to itself through another');
    let settled = false;
    const foreign = inPhaseOf('consumer', () => handle.greet('a stranger')).then(() => {
      settled = true;
    });
    await flush();
    expect(settled).toBe(false);
    gate.openUp();
    await foreign;
  });

  test('the old implementation is not called again by anybody', async () => {
    const { gate, table } = serving({ greet: async () => 'old' });
    gate.close();
    table.release('provider');
    expect(table.isImplemented('greeter')).toBe(false);
    const error = await failure(handleOf(table, 'provider').greet('x'));
    expect(error.message).toBe('the call greeter.greet found its provider provider not set up');
  });
});

describe('when the provider is gone', () => {
  test('calls are refused at once, also those of its own and those that wait', async () => {
    const { gate, handle, table } = serving({ greet: async () => 'old' });
    gate.close();
    const waiting = handle.greet('x');
    const gone = new Error('unloaded');
    gate.abandon(() => gone);
    await expect(waiting).rejects.toBe(gone);
    for (const consumer of ['consumer', 'provider']) {
      const error = await failure(handleOf(table, consumer).greet('x'));
      expect([error.code, error.details.state]).toEqual(['CORE_ERR_SERVICE_GONE', 'gone']);
    }
  });

  test('handles follow to another provider', async () => {
    const { gate, handle, table, clock } = serving({ greet: async () => 'first' });
    const next = new Gate('next', clock);
    table.assign({ ...greeter, T: undefined as never, version: '1.3.0' }, next);
    expect(table.providerOf('greeter')).toBe('next');
    expect(table.isImplemented('greeter')).toBe(false);
    gate.abandon(() => new Error('gone'));
    // The loser has no say.
    table.implement('greeter', 'provider', { greet: async () => 'the loser' });
    expect(table.isImplemented('greeter')).toBe(false);
    const call = handle.greet('x');
    table.implement('greeter', 'next', { greet: async () => 'next' });
    next.openUp();
    expect(await call).toBe('next');
    expect(table.report()[0]).toMatchObject({ provider: 'next', version: '1.3.0' });
    // Nor does its going matter.
    table.release('provider');
    expect(await handle.greet('x')).toBe('next');
  });

  test('and nobody follows, calls are refused', async () => {
    const { handle, table } = serving({ greet: async () => 'first' });
    table.unassign('greeter');
    expect((await failure(handle.greet('x'))).details.state).toBe('not set up');
  });
});

describe('calls under way', () => {
  test('are counted until they settle, either way', async () => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const failing = Promise.withResolvers<string>();
    const { gate, handle } = serving({
      greet: () => promise,
      later: () => failing.promise,
    });
    const calls = Promise.allSettled([handle.greet('x'), handle.later()]);
    expect(gate.inside).toBe(2);
    gate.close();
    let idle = false;
    const quiet = gate.idle().then(() => {
      idle = true;
    });
    resolve('x');
    await flush();
    expect([gate.inside, idle]).toEqual([1, false]);
    failing.reject(new Error('no'));
    await quiet;
    await calls;
    expect(gate.inside).toBe(0);
    reject(new Error('unused'));
  });

  test('are not those that fail or answer at once', async () => {
    const { gate, handle } = serving({
      greet: () => 'at once',
      later: () => {
        throw new Error('at once');
      },
    });
    await Promise.allSettled([handle.greet('x'), handle.later()]);
    expect(gate.inside).toBe(0);
  });

  test('that nobody waits for make no unhandled rejection of the core', async () => {
    const unhandled: unknown[] = [];
    const listener = (e: unknown): void => void unhandled.push(e);
    process.on('unhandledRejection', listener);
    const { handle } = serving({ greet: () => Promise.reject(new Error('handled by its caller')) });
    await handle.greet('x').catch(() => {});
    await flush();
    await flush();
    process.off('unhandledRejection', listener);
    expect(unhandled).toEqual([]);
  });

  test('are on record while their consumer is watched, so that a deadline can blame them', async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const { handle, table, gate } = serving({ greet: () => promise, later: async () => '' });
    const call = handle.greet('before');
    const open = await table.watching('consumer', async () => {
      const own = handle.greet('x');
      await handle.later().catch(() => {});
      void handleOf(table, 'another').greet('y');
      gate.close();
      const waits = handle.later();
      const during = table.openCalls('consumer');
      gate.openUp();
      resolve('');
      await Promise.all([own, waits]);
      expect(table.openCalls('consumer')).toEqual([]);
      return during;
    });
    expect(open.map(({ service, method, provider }) => `${service}.${method} of ${provider}`)).toEqual([
      'greeter.greet of provider',
      'greeter.later of provider',
    ]);
    expect(table.openCalls('consumer')).toEqual([]);
    await call;
    await expect(table.watching('consumer', () => Promise.reject(new Error('phase')))).rejects.toThrow('phase');
    void handle.greet('x');
    expect(table.openCalls('consumer')).toEqual([]);
  });
});

test('the report names providers, contract versions and consumers', () => {
  const { table, clock } = setup();
  table.assign(other, new Gate('second', clock));
  for (const consumer of ['zoe', 'amy']) table.handle(greeter, consumer);
  table.handle(other, 'zoe');
  const shared = { inFlight: 0 };
  expect(table.report()).toEqual([
    {
      ...shared,
      service: 'greeter',
      version: '1.2.0',
      provider: 'provider',
      rebind: 'live',
      consumers: ['amy', 'zoe'],
    },
    { ...shared, service: 'other', version: '2.0.0', provider: 'second', rebind: 'restart', consumers: ['zoe'] },
  ]);
  table.release('zoe');
  expect(table.report().map(({ consumers }) => consumers)).toEqual([['amy'], []]);
});

test('a traced call is a span of its caller, from the wait to the end', async () => {
  const { tracer, handle, gate } = serving({
    greet: async (name: string) => {
      await flush();
      tracer.point('lease', 'inside', 'provider');
      return name;
    },
    later: () => Promise.reject(new Error('no')),
  });
  const records: TraceRecord[] = [];
  using _subscription = tracer.subscribe((record) => void records.push(record));
  gate.close();
  const call = handle.greet('x');
  tracer.caused(99, () => gate.openUp());
  await call;
  await handle.later().catch(() => {});
  await flush();
  const [start] = records;
  expect(records.map(({ kind, phase, name, plugin, cause }) => [kind, phase, name, plugin, cause])).toEqual([
    ['service', 'start', 'greeter.greet', 'consumer', 0],
    ['lease', 'point', 'inside', 'provider', start?.id],
    ['service', 'end', 'greeter.greet', 'consumer', 0],
    ['service', 'start', 'greeter.later', 'consumer', 0],
    ['service', 'error', 'greeter.later', 'consumer', 0],
  ]);
  expect(start?.detail).toEqual({ provider: 'provider' });
  expect(records.at(-1)?.error?.message).toBe('no');
});
