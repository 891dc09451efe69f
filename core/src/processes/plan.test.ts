import { expect, test } from 'vitest';
import { checkPlan, checkRequest, createPlan, readyFd } from './plan.ts';
import type { SpawnPlan, SpawnRequest } from './types.ts';

const request: SpawnRequest = { key: 'disk', kind: 'device', argv: ['/bin/true'] };
const plan = createPlan(request, 'demo', 'i/demo/disk');

test('the environment is small, and what is asked for wins', () => {
  process.env.SECRET_OF_THE_RUNTIME = 'x';
  const { env } = createPlan({ ...request, env: { LANG: 'C', OWN: '1' } }, 'demo', 'i/demo/disk');
  delete process.env.SECRET_OF_THE_RUNTIME;
  expect(env).toMatchObject({ LANG: 'C', OWN: '1', RUNTIME_CHILD: 'i/demo/disk', PATH: process.env.PATH });
  const allowed = ['RUNTIME_CHILD', 'PATH', 'LANG', 'HOME', 'XDG_RUNTIME_DIR', 'OWN'];
  expect(Object.keys(env).filter((name) => !allowed.includes(name))).toEqual([]);
});

test('the descriptor for READY=1 is the first one that is free', () => {
  const fds = [3, 4, 6].map((child) => ({ child, parent: 0 }));
  expect(readyFd(createPlan({ ...request, fds, ready: 'notify' }, 'demo', 'c'))).toBe(5);
  expect(readyFd(plan)).toBeUndefined();
});

test('a tap cannot change whose child it is', () => {
  const forged = { ...plan, key: 'other', plugin: 'other', env: { A: '1', RUNTIME_CHILD: 'forged' } };
  expect(checkPlan(plan, forged)).toMatchObject({
    key: 'disk',
    plugin: 'demo',
    env: { A: '1', RUNTIME_CHILD: 'i/demo/disk' },
  });
});

const fd = (child: number, parent = 0): Partial<SpawnPlan> => ({ fds: [{ child, parent }] });
test.each<[string, Partial<SpawnPlan>]>([
  ['no plugin carries out its jail', { jail: {}, jailRequired: true }],
  ['descriptor 2 is not between 3 and 255', fd(2)],
  ['descriptor 256 is not between 3 and 255', fd(256)],
  ['descriptor 3.5 is not between 3 and 255', fd(3.5)],
  ['descriptor 7 has no counterpart here (-1)', fd(7, -1)],
  ['descriptor 3 is given twice', { ...fd(3), env: { RUNTIME_READY_FD: '3' } }],
  ['there is no resource limit "files"', { rlimits: [{ resource: 'files', soft: 1n, hard: 1n }] }],
  ['a resource limit is negative', { rlimits: [{ resource: 'core', soft: -1n, hard: 1n }] }],
  ['argv must have 1 to 4096 parts, the first not empty', { argv: [''] }],
  ['argv must have 1 to 4096 parts, the first not empty', { argv: ['x', ...Array(4096).fill('y')] }],
  ['a NUL in argv, environment or folder', { argv: ['x', 'a\0b'] }],
  ['a NUL in argv, environment or folder', { env: { A: 'a\0b' } }],
  ['a NUL in argv, environment or folder', { cwd: '/\0' }],
  ['a variable without a proper name', { env: { 'A=B': '' } }],
  ['a variable without a proper name', { env: { '': '' } }],
  ['a string in argv or environment has more than 131071 bytes', { argv: ['x', 'y'.repeat(131_071)] }],
  ['argv and environment have', { argv: ['x', ...Array(4000).fill('y'.repeat(300))] }],
])('refused: %s', (why, change) => {
  expect(() => checkPlan(plan, { ...plan, ...change })).toThrow(why);
});

test('a jail that is not required may stay undone', () => {
  expect(checkPlan(plan, { ...plan, jail: {} }).jail).toEqual({});
});

test.each<[string, Partial<SpawnRequest>]>([
  ['its key must be 1 to 256 characters', { key: '' }],
  ['its key must be 1 to 256 characters', { key: 'x'.repeat(257) }],
  ['its key must be 1 to 256 characters', { key: 'a\nb' }],
  ['its key must be 1 to 256 characters', { key: '\ud800' }],
  ['a detached child cannot talk over pipes', { detached: true, stdio: 'pipe' }],
  ['its output belongs to the caller', { stdio: 'pipe', ready: { line: /x/ } }],
])('refused: %s', (why, change) => {
  expect(() => checkRequest({ ...request, ...change }, 'demo', '/state')).toThrow(why);
});

test('a detached child needs a place to be found again', () => {
  const detached = { ...request, detached: true };
  expect(() => checkRequest(detached, 'demo', undefined)).toThrow('needs a runtime with a state directory');
  checkRequest(detached, 'demo', '/state');
});
