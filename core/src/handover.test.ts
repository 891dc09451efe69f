import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { isRuntimeError } from './errors.ts';
import { makeHandover, receiveHandover } from './handover.ts';
import { type AnyPlugin, type Handover, PLUGIN_TYPE, type StateSpec } from './plugin.ts';

function plugin(state?: StateSpec<unknown>, version?: string): AnyPlugin {
  const parts = { ...(state === undefined ? {} : { state }), ...(version === undefined ? {} : { version }) };
  return { $$type: PLUGIN_TYPE, name: 'counter', ...parts, setup: () => {} };
}

async function refusal(work: Promise<unknown> | (() => unknown)): Promise<{ message: string; cause: unknown }> {
  const error = await Promise.try(() => (typeof work === 'function' ? work() : work)).then(
    () => expect.fail('it was taken'),
    (e: unknown) => e,
  );
  if (!isRuntimeError(error, 'CORE_ERR_RELOAD_STATE')) throw error;
  expect(error.plugin).toBe('counter');
  return { message: error.message, cause: error.cause };
}

describe('giving state away', () => {
  test('copies it, with the schema and the version it is of', () => {
    const state = { vms: new Map([['penguin', { cid: 3n }]]), bytes: new Uint8Array([1, 2]) };
    const handover = makeHandover(plugin({ schema: 4 }, '1.2.3'), state);
    expect(handover).toEqual({ schema: 4, state, fromVersion: '1.2.3' });
    state.vms.clear();
    state.bytes[0] = 9;
    expect(handover.state).toEqual({ vms: new Map([['penguin', { cid: 3n }]]), bytes: new Uint8Array([1, 2]) });
    expect(makeHandover(plugin(), 7)).toEqual({ schema: 0, state: 7, fromVersion: '0.0.0' });
  });

  test.each([
    ['a function', { on: () => {} }],
    ['a symbol', [Symbol('x')]],
    ['a promise', Promise.resolve()],
  ])('refuses %s, and says why', async (_what, state) => {
    const { message, cause } = await refusal(() => makeHandover(plugin({ schema: 1 }), state));
    expect(message).toMatch(/^the state of counter cannot be handed over: .* could not be cloned/);
    expect(cause).toBeInstanceOf(DOMException);
  });
});

describe('receiving it', () => {
  const given: Handover<unknown> = { schema: 1, state: { count: 3, list: ['a'] }, fromVersion: '1.0.0' };

  test('of the same schema gives a copy; nothing that is done to it reaches the way back', async () => {
    const received = await receiveHandover(plugin({ schema: 1 }, '2.0.0'), given);
    expect(received).toEqual(given);
    const { list } = (received ?? given).state as { list: string[] };
    list.push('changed');
    expect(given.state).toEqual({ count: 3, list: ['a'] });
  });

  test('is nothing for code that takes no state', async () => {
    expect(await receiveHandover(plugin(), given)).toBeUndefined();
  });

  test('of another schema is migrated, from a copy', async () => {
    const migrate = (old: unknown, from: number): unknown => {
      const state = old as { count: number; list: string[] };
      state.list.length = 0;
      return { total: state.count * 10, from };
    };
    for (const schema of [2, 0]) {
      const received = await receiveHandover(plugin({ schema, migrate }), given);
      expect(received).toEqual({ schema, state: { total: 30, from: 1 }, fromVersion: '1.0.0' });
    }
    expect(given.state).toEqual({ count: 3, list: ['a'] });
    // Not asked when there is nothing to do.
    const never = (): never => expect.fail('no need');
    expect((await receiveHandover(plugin({ schema: 1, migrate: never }), given))?.state).toEqual(given.state);
  });

  test('that cannot be migrated is refused with the reason', async () => {
    expect((await refusal(receiveHandover(plugin({ schema: 2 }), given))).message).toBe(
      'the state of counter cannot be handed over: it is of schema 1, the new code takes 2 and has no migrate()',
    );
    const why = new Error('too old');
    const migrate = (): never => {
      throw why;
    };
    expect(await refusal(receiveHandover(plugin({ schema: 2, migrate }), given))).toEqual({
      message: 'the state of counter cannot be handed over: migrate() refused schema 1',
      cause: why,
    });
  });

  test('is checked after it was migrated, and is what the check makes of it', async () => {
    const validate = z.object({ count: z.number().max(5), unit: z.string().default('pieces') });
    const received = await receiveHandover(plugin({ schema: 1, validate }), given);
    expect(received?.state).toEqual({ count: 3, unit: 'pieces' });
    const migrate = (): unknown => ({ count: 6 });
    const { message } = await refusal(receiveHandover(plugin({ schema: 2, validate, migrate }), given));
    expect(message).toMatch(/^the state of counter cannot be handed over: count: /);
  });
});
