import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { checkConfig, checkSchema, isProblem } from './config-check.ts';
import { isRuntimeError } from './errors.ts';
import { type AnyPlugin, PLUGIN_TYPE, type Schema, type SchemaIssue } from './plugin.ts';

function plugin(config?: Schema<unknown>): AnyPlugin {
  return { $$type: PLUGIN_TYPE, name: 'alpha', ...(config === undefined ? {} : { config }), setup: () => {} };
}

/** A schema of nobody's library. */
function schema(validate: Schema<unknown>['~standard']['validate']): Schema<unknown> {
  return { '~standard': { version: 1, vendor: 'own', validate } };
}

describe('a schema', () => {
  test('gives the value it makes, at once or later', async () => {
    expect(
      await checkSchema(
        schema((value) => ({ value: [value] })),
        1,
      ),
    ).toEqual({ value: [1] });
    expect(
      await checkSchema(
        schema(async (value) => ({ value: [value] })),
        1,
      ),
    ).toEqual({ value: [1] });
    expect(await checkSchema(z.string().transform(Number), '7')).toEqual({ value: 7 });
  });

  test('says what it found, and where', async () => {
    const issues: SchemaIssue[] = [
      { message: 'is wrong' },
      { message: 'has no path', path: [] },
      { message: 'is too long', path: ['list', 2, { key: 'name' }] },
    ];
    const why = 'is wrong; has no path; list[2].name: is too long';
    expect(
      await checkSchema(
        schema(() => ({ issues })),
        1,
      ),
    ).toEqual({ why });
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('broken schema');
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken schema'))],
  ])('that %s refuses', async (_how, validate) => {
    expect(await checkSchema(schema(validate), 1)).toEqual({ why: 'broken schema' });
  });
});

describe('the configuration of a plugin', () => {
  const strict = z.strictObject({ port: z.number().default(80) });

  test('is what its schema makes of it; without an entry its defaults', async () => {
    expect(await checkConfig(plugin(strict), { port: 8080 })).toEqual({ config: { port: 8080 } });
    for (const nothing of [undefined, null, {}]) {
      expect(await checkConfig(plugin(strict), nothing)).toEqual({ config: { port: 80 } });
    }
  });

  test('that is wrong is a problem of that plugin', async () => {
    for (const raw of [{ port: 'x' }, { prt: 1 }, 'text', []]) {
      const result = await checkConfig(plugin(strict), raw);
      expect(isProblem(result) && isRuntimeError(result, 'CORE_ERR_CONFIG') && result.plugin).toBe('alpha');
    }
    const result = await checkConfig(plugin(strict), { port: 'x' });
    expect(isProblem(result) && result.message).toMatch(/^the configuration of alpha is not valid: port: /);
  });

  test('that takes none must be empty', async () => {
    for (const nothing of [undefined, null, {}]) {
      const result = await checkConfig(plugin(), nothing);
      expect(result).toEqual({ config: undefined });
      expect(isProblem(result)).toBe(false);
    }
    for (const something of [{ port: 1 }, 'text', 0, false]) {
      const result = await checkConfig(plugin(), something);
      expect(isProblem(result) && result.message).toBe('the configuration of alpha is not valid: it takes none');
    }
  });
});
