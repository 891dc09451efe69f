import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestRuntime, type RunCommandOptions } from '@runtime/sdk/testing';
import { afterAll, expect, test } from 'vitest';
import sandbox from '../index.ts';
import { decode } from '../policy/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'policies-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function run(command: string, args: readonly string[], options: RunCommandOptions['options'] = {}) {
  await using runtime = await createTestRuntime({ plugins: [sandbox] });
  return await runtime.run(`sandbox policy ${command}`, { args, options: { arch: 'x86_64', ...options } });
}

const LEFT = file('left.policy', 'read: 1\nioctl: arg1 == TCGETS || \\\n  arg1 == TCSETS\n');
const RIGHT = file('right.policy', 'read: 1\nioctl: arg1 == TCGETS\n');

test('check tells what a policy is, and every file that is wrong', async () => {
  const good = await run('check', [LEFT]);
  expect(good.data).toEqual([[{ file: LEFT, syscalls: 2, instructions: expect.any(Number), default: 'kill-thread' }]]);
  const wrong = file('wrong.policy', 'raed: 1\n');
  const both = await run('check', [wrong, LEFT]);
  expect([both.code, both.err.join()]).toEqual([1, expect.stringContaining('did you mean "read"?')]);
  await expect(run('check', [wrong])).rejects.toMatchObject({ code: 'SANDBOX_ERR_POLICY' });
});

test('check warns of what minijail would lose', async () => {
  const { err } = await run('check', [file('lost.policy', 'ioctl: { arg1 == 5; return EPERM, allow }\n')]);
  expect(err.join()).toContain('warning: minijail');
});

test('compile prints a program, or writes it', async () => {
  expect((await run('compile', [LEFT])).out.join()).toContain('ld   arch');
  const output = join(folder, 'left.bpf');
  await run('compile', [LEFT], { output });
  expect(decode(readFileSync(output)).length).toBeGreaterThan(5);
});

test('explain says which line decides', async () => {
  const { data } = await run('explain', [LEFT, 'ioctl', '3', 'TCSETS']);
  expect(data).toMatchObject([{ decision: 'allow', line: `${LEFT}:2`, why: 'its condition is true' }]);
  const all = await run('explain', [LEFT, 'ioctl']);
  expect(all.data).toMatchObject([[{ decision: 'allow', example: '0 0x5401' }, { decision: 'kill-thread' }]]);
  await expect(run('explain', [LEFT, 'ioctl', 'TCGETZZ'])).rejects.toMatchObject({ code: 'SANDBOX_ERR_CALL' });
});

test('diff shows what is decided differently, and says so by its exit code', async () => {
  const { code, data } = await run('diff', [LEFT, RIGHT]);
  expect(code).toBe(1);
  expect(data).toMatchObject([[{ syscall: 'ioctl', arguments: '0 0x5402', left: 'allow', right: 'kill-thread' }]]);
  expect((await run('diff', [LEFT, LEFT])).code).toBe(0);
  // The same text in the two dialects.
  const text = file('both.policy', 'ioctl: arg1 == 5; return EPERM\n');
  expect((await run('diff', [text, text], { 'right-dialect': 'c' })).code).toBe(1);
});

test('test compares with a table', async () => {
  const good = await run('test', [LEFT, file('good.expect', 'read -> allow\nioctl 0 TCSETS -> allow\n')]);
  expect([good.code, good.err]).toEqual([0, ['2 of 2 are decided as expected.']]);
  const bad = await run('test', [LEFT, file('bad.expect', 'read -> allow\nioctl 0 1 -> errno EPERM # so\n')]);
  expect([bad.code, bad.data]).toMatchObject([1, [[{ expected: 'ioctl 0 1 -> errno EPERM', decided: 'kill-thread' }]]]);
  await expect(run('test', [LEFT, file('no.expect', 'read allow\n')])).rejects.toMatchObject({
    code: 'SANDBOX_ERR_EXPECTATION',
  });
});

test('record makes a policy that allows what was seen', async () => {
  const { out } = await run('record', [file('trace.txt', '1 ioctl(0x1, 0x5401, 0x7ffc) = 0\n1 exit_group(0) = ?\n')]);
  expect(out.join('\n')).toContain('ioctl: arg1 == 0x5401');
});

test.each([
  [{ arch: 'sparc' }, 'SANDBOX_ERR_ARCHITECTURE'],
  [{ 'default-action': 'perhaps' }, 'SANDBOX_ERR_USAGE'],
  [{ map: ['nothing'] }, 'SANDBOX_ERR_USAGE'],
  [{ constants: LEFT }, 'SANDBOX_ERR_TABLES'],
])('%j is refused', async (options, code) => {
  await expect(run('check', [LEFT], options)).rejects.toMatchObject({ code });
});
