import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockImage } from './image-lock.ts';

let folder: string;
let path: string;
const fds: number[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'image-lock-'));
  path = join(folder, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, 2 ** 20);
});
afterEach(() => {
  for (const fd of fds.splice(0)) closeSync(fd);
  rmSync(folder, { recursive: true });
});

function lock(writable: boolean): boolean {
  const fd = openSync(path, writable ? 'r+' : 'r');
  fds.push(fd);
  return lockImage(fd, writable);
}

test.each([
  [false, false, true],
  [false, true, false],
  [true, false, false],
  [true, true, false],
])('after an opening with writable=%s, one with writable=%s succeeds: %s', (first, second, succeeds) => {
  expect(lock(first)).toBe(true);
  expect(lock(second)).toBe(succeeds);
});

const lacks = spawnSync('qemu-storage-daemon', ['--version']).status !== 0;
if (lacks)
  console.log('skipped: locks beside those of QEMU; lacking: qemu-storage-daemon (apt-get install qemu-utils)');

describe.skipIf(lacks)('beside QEMU', () => {
  let daemon: ChildProcess | undefined;
  afterEach(async () => {
    if (daemon === undefined || daemon.exitCode !== null) return;
    daemon.kill();
    await once(daemon, 'exit');
  });

  /** Resolves once QEMU has the image open, or has given up: then with what it said. */
  async function open(readOnly: boolean): Promise<string> {
    const socket = join(folder, 'nbd');
    const exported = `type=nbd,id=e,node-name=disk,writable=${readOnly ? 'off' : 'on'}`;
    const args = [
      '--nbd-server',
      `addr.type=unix,addr.path=${socket}`,
      '--export',
      exported,
      '--pidfile',
      join(folder, 'pid'),
    ];
    const blockdev = `driver=file,node-name=disk,filename=${path},locking=on,read-only=${readOnly ? 'on' : 'off'}`;
    daemon = spawn('qemu-storage-daemon', [
      '--blockdev',
      blockdev,
      ...args,
      '--chardev',
      'stdio,id=ready',
      '--monitor',
      'chardev=ready',
    ]);
    let said = '';
    daemon.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    // It greets when everything on its command line is done.
    await Promise.race([once(daemon.stdout as NodeJS.ReadableStream, 'data'), once(daemon, 'exit')]);
    return daemon.exitCode === null ? '' : said;
  }

  test('readers share the image, whoever came first', async () => {
    expect(await open(true)).toBe('');
    expect(lock(false)).toBe(true);
  });

  test('a reader here lets QEMU read, and not write', async () => {
    expect(lock(false)).toBe(true);
    expect(await open(true)).toBe('');
    daemon?.kill();
    await once(daemon as ChildProcess, 'exit');
    expect(await open(false)).toMatch(/lock/);
  });

  test('nobody reads here while QEMU writes, and QEMU does not read while somebody writes here', async () => {
    expect(await open(false)).toBe('');
    expect(lock(false)).toBe(false);
    daemon?.kill();
    await once(daemon as ChildProcess, 'exit');
    for (const fd of fds.splice(0)) closeSync(fd);
    expect(lock(true)).toBe(true);
    expect(await open(true)).toMatch(/lock/);
  });
});
