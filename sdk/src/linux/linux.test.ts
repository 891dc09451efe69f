import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRuntimeError } from '@runtime/core';
import { expect, test } from 'vitest';
import { declare } from './call.ts';
import { isLinuxError, linuxHost, onReadable, peerCredentials, pidfdOpen, pidfdSendSignal } from './index.ts';
import { syscallNumber } from './syscall-numbers.ts';

const programs = join(import.meta.dirname, 'test-programs');
const nodeOptions = ['--conditions=@runtime/source'];

function isCloseOnExec(fd: number): boolean {
  const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '';
  return (Number.parseInt(flags, 8) & 0o2000000) !== 0;
}

test('a pidfd signals its process and becomes readable when that ends', async () => {
  const child = spawn('/bin/sleep', ['60']);
  const fd = pidfdOpen(child.pid ?? 0);
  expect(isCloseOnExec(fd)).toBe(true);
  const readable = new Promise<void>((resolve) => onReadable(fd, resolve));
  const exit = once(child, 'exit');
  expect(pidfdSendSignal(fd, 'SIGTERM')).toBe(true);
  await readable;
  expect(await exit).toEqual([null, 'SIGTERM']);
  // Gone, and its number may be used again: the descriptor does not name the newcomer.
  expect(pidfdSendSignal(fd, 'SIGKILL')).toBe(false);
  closeSync(fd);
});

test('a failed call says which, how, and what to do', () => {
  // Beyond /proc/sys/kernel/pid_max, which is at most 2^22.
  const call = (): number => pidfdOpen(2 ** 22 + 1);
  expect(call).toThrow('pidfd_open failed with ESRCH: no such process');
  try {
    call();
  } catch (e) {
    expect(isLinuxError(e, 'ESRCH')).toBe(true);
    expect(isLinuxError(e, 'EPERM')).toBe(false);
    expect(isRuntimeError(e, 'SDK_ERR_SYSCALL') && e.remedy).toContain('man page of pidfd_open');
    expect(e).toMatchObject({ errno: 3, syscall: 'pidfd_open' });
  }
  expect(() => pidfdSendSignal(1_000_000, 'SIGTERM')).toThrow('EBADF');
});

test('the numbers of system calls are those of this machine, and others are refused', () => {
  const getpid = declare<[number: number], number | bigint>('long syscall(long number)');
  expect(Number(getpid(process.arch === 'x64' ? 39 : 172))).toBe(process.pid);
  expect(syscallNumber('pidfd_open')).toBe(434);
  expect(() => syscallNumber('pidfd_open', 's390x')).toThrow('system call pidfd_open is not there on s390x');
});

test('the peer of a Unix socket is this process', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'peer-'));
  const server = net.createServer().listen(join(folder, 's'));
  await once(server, 'listening');
  const client = net.connect(join(folder, 's'));
  const [accepted] = (await once(server, 'connection')) as [net.Socket];
  const { fd } = (accepted as unknown as { _handle: { fd: number } })._handle;
  expect(peerCredentials(fd)).toEqual({ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
  client.destroy();
  accepted.destroy();
  server.close();
  rmSync(folder, { recursive: true });
});

test('a descriptor that is no socket has no peer', () => {
  const fd = pidfdOpen(process.pid);
  expect(() => peerCredentials(fd)).toThrow('getsockopt failed with ENOTSOCK');
  closeSync(fd);
});

test('a process that asked for it ends with its parent', async () => {
  const parent = spawn(process.execPath, [...nodeOptions, join(programs, 'dying-parent.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const fd = pidfdOpen(Number(String(line)));
  const ended = new Promise<void>((resolve) => onReadable(fd, resolve));
  parent.kill('SIGKILL');
  await ended;
  closeSync(fd);
});

test('privileges that a program brings are not gained after setNoNewPrivileges', () => {
  const program = join(programs, 'no-new-privileges.ts');
  const status = execFileSync(process.execPath, [...nodeOptions, program], { encoding: 'utf8' });
  expect(status).toMatch(/^NoNewPrivs:\t1$/m);
});

test('orphans come to a subreaper', () => {
  const program = join(programs, 'subreaper.ts');
  const { self, adopted } = JSON.parse(execFileSync(process.execPath, [...nodeOptions, program], { encoding: 'utf8' }));
  expect(adopted).toBe(self);
});

test('children get no descriptor that was left open', () => {
  // dup(2) makes a descriptor without close-on-exec, as one that was inherited.
  const dup = declare<[fd: number], number>('int dup(int fd)');
  const leaked = dup(2);
  const seenBy = (): string => execFileSync('/bin/ls', ['/proc/self/fd'], { encoding: 'utf8' });
  expect(seenBy().split('\n')).toContain(String(leaked));
  linuxHost.sealDescriptors?.();
  expect(seenBy().split('\n')).not.toContain(String(leaked));
  expect(readdirSync('/proc/self/fd')).toContain(String(leaked));
  closeSync(leaked);
});

test('nothing is loaded before the first call', () => {
  const program = join(programs, 'lazy.ts');
  const answer = JSON.parse(execFileSync(process.execPath, [...nodeOptions, program], { encoding: 'utf8' }));
  expect(answer).toEqual({ before: false, untouched: false, after: true });
});
