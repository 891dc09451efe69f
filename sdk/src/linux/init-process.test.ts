// What only a first process does, as one of namespaces of its own.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { setInterfaceAddress } from './ipv4.ts';

const UNSHARE = ['--mount', '--net', '--uts', '--pid', '--fork'];
const isPossible = spawnSync('unshare', [...UNSHARE, 'true']).status === 0 && existsSync('/dev/net/tun');
if (!isPossible) process.stdout.write('no namespaces can be made here: what a first process does is not tested\n');

test.skipIf(!isPossible)('a first process mounts, reaps, and sets up its network', () => {
  const folder = mkdtempSync(join(tmpdir(), 'first-'));
  const program = join(import.meta.dirname, 'test-programs', 'first-process.ts');
  const node = [process.execPath, '--conditions=@runtime/source', program, folder];
  const { stdout, stderr } = spawnSync('unshare', [...UNSHARE, ...node], { encoding: 'utf8' });
  rmSync(folder, { recursive: true });
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({
    ...{ bound: true, gone: true, host: 'some-guest', limit: ['512', '512'] },
    ...{ early: null, peeked: true, reaped: [true, false] },
    routes: [['eth0', '00000000', '195C7364'], ['eth0', '185C7364', '00000000'], ['']],
    ...{ twice: 'EEXIST', again: 'ESRCH', nothing: 'ENOENT', strange: 'ENODEV' },
  });
});

test('what is no address is refused', () => {
  for (const address of ['', '1.2.3', '1.2.3.4.5', '1.2.3.256', '::1'])
    expect(() => setInterfaceAddress('lo', address, '255.0.0.0')).toThrow('an address cannot be');
});
