import { describe, expect, test } from 'vitest';
import { defineHook, definePool, defineService } from './tokens.ts';

describe('tokens', () => {
  test('are plain frozen data with an id, a kind and a contract version', () => {
    const service = defineService<object>('greeter', { version: '1.2.0' });
    expect(service).toEqual({ kind: 'service', id: 'greeter', version: '1.2.0', rebind: 'live' });
    expect(defineService<object>('x', { version: '1.0.0', rebind: 'restart' }).rebind).toBe('restart');
    const hook = defineHook<[a: string]>()('vm/before-start', 'bail', ['a']);
    expect(hook).toEqual({ kind: 'hook', id: 'vm/before-start', hookKind: 'bail', args: ['a'], version: '1.0.0' });
    const pool = definePool('cid', { kind: 'id', from: 3n, to: 5n }, { version: '2.0.0' });
    expect(pool).toEqual({ kind: 'pool', id: 'cid', spec: { kind: 'id', from: 3n, to: 5n }, version: '2.0.0' });
    for (const token of [service, hook, pool]) expect(Object.isFrozen(token)).toBe(true);
  });

  test('carry a type that is no value, and that nobody trips over', () => {
    const token = defineService<object>('greeter', { version: '1.2.0' });
    expect(() => token.T).toThrow(TypeError);
    expect(Object.keys(token)).not.toContain('T');
    expect(() => JSON.stringify(token)).not.toThrow();
    expect(() => structuredClone(token)).not.toThrow();
    expect({ ...token }).not.toHaveProperty('T');
  });
});
