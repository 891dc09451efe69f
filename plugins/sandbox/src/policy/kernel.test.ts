// The kernel takes our programs, and decides as they should.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { architectureCalled, compilePolicy, encode, tablesOf } from './index.ts';
import { parseText } from './test-policies.ts';

const folder = mkdtempSync(join(tmpdir(), 'filter-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** SIGCONT is 18 and SIGWINCH 28, which do no harm to whoever gets them. */
const POLICY = `
kill: { arg1 == 0; return ESRCH, arg1 == SIGCONT && arg0 < 0x100000000; return ENOTTY, arg1 > 27; kill-process }
`;

test('a process under a compiled filter gets its errors, and is killed where it says so', () => {
  const tables = tablesOf(architectureCalled(process.arch));
  const program = compilePolicy(parseText(POLICY, { tables, defaultAction: { kind: 'allow' } }));
  const file = join(folder, 'filter.bpf');
  writeFileSync(file, encode(program));
  const { stdout, stderr, signal } = spawnSync(
    process.execPath,
    ['--conditions=@runtime/source', join(import.meta.dirname, 'test-programs/locked-down.ts'), file],
    { encoding: 'utf8' },
  );
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({ before: 'ok', after: 'ESRCH', children: 'ENOTTY', modes: '2' });
  expect(signal).toBe('SIGSYS');
});
