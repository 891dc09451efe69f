// Descriptors, locks, paths and what is told of files.

import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { copyFileRange } from './copy-range.ts';
import {
  accessOf,
  duplicate,
  isCloseOnExec,
  isNonBlocking,
  setCloseOnExec,
  setNonBlocking,
} from './descriptor-flags.ts';
import { eventfd } from './eventfd.ts';
import { canLockRange, lockFile, lockRange } from './file-locks.ts';
import { Inotify } from './inotify.ts';
import { blockDeviceSize, ioctlNumber, ioctlRequest } from './ioctl.ts';
import { mapAnonymous } from './mapping.ts';
import { memfdCreate } from './memfd.ts';
import { openBeneath } from './open-beneath.ts';
import { pidfdGetfd, pidfdOpen } from './pidfd.ts';
import { rawPwrite } from './raw-io.ts';
import { blockSignals, readSignal, signalfd } from './signalfd.ts';
import { statx } from './statx.ts';
import { watch } from './watch.ts';

/** On x86-64, arm64 and riscv64. */
const SIGUSR2 = 12;

let folder = '';
let fds: number[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'files-'));
  fds = [];
});
afterEach(() => {
  for (const fd of fds) closeSync(fd);
  rmSync(folder, { recursive: true });
});
function keep(fd: number): number {
  fds.push(fd);
  return fd;
}
const open = (name: string, flags: string | number): number => keep(openSync(join(folder, name), flags));

test('flags of a descriptor are its own or shared, as they are', () => {
  const fd = keep(eventfd());
  const copy = keep(duplicate(fd, 200));
  expect(copy).toBeGreaterThanOrEqual(200);
  expect([isCloseOnExec(copy), isNonBlocking(copy), accessOf(copy)]).toEqual([true, true, 'read-write']);
  setNonBlocking(copy, false);
  expect(isNonBlocking(fd)).toBe(false);
  setCloseOnExec(copy, false);
  expect([isCloseOnExec(copy), isCloseOnExec(fd)]).toEqual([false, true]);
  expect(accessOf(open('.', 'r'))).toBe('read');
  expect(() => duplicate(1_000_000)).toThrow('fcntl failed with EBADF');
});

test('descriptors of another process are fetched through its pidfd', () => {
  const pidfd = keep(pidfdOpen(process.pid));
  const copy = keep(pidfdGetfd(pidfd, pidfd));
  expect(readFileSync(`/proc/self/fdinfo/${copy}`, 'latin1')).toContain(`Pid:\t${process.pid}`);
});

test('a range is locked against others who opened the file, also in this process', () => {
  writeFileSync(join(folder, 'image'), 'x');
  const [mine, theirs] = [open('image', 'r+'), open('image', 'r+')];
  expect(lockRange(mine, 'write', { start: 100, length: 4 })).toBe(true);
  expect(canLockRange(theirs, 'read', { start: 103, length: 1 })).toBe(false);
  expect(lockRange(theirs, 'read', { start: 103, length: 1 })).toBe(false);
  expect(lockRange(theirs, 'write', { start: 104, length: 2 ** 40 })).toBe(true);
  expect(canLockRange(mine, 'write')).toBe(false);
  // It goes with the descriptor when that is handed over, and stays while any copy is open.
  const copy = duplicate(mine);
  expect(lockRange(copy, 'read', { start: 100, length: 4 })).toBe(true);
  closeSync(copy);
  expect(lockRange(theirs, 'read', { start: 100, length: 4 })).toBe(true);
  expect(lockRange(theirs, 'none')).toBe(true);
  expect(canLockRange(mine, 'write')).toBe(true);
  expect(() => lockRange(open('image', 'r'), 'write')).toThrow('fcntl failed with EBADF');
});

test('a file is locked as a whole', () => {
  writeFileSync(join(folder, 'file'), '');
  const [mine, theirs] = [open('file', 'r'), open('file', 'r')];
  expect([lockFile(mine, 'shared'), lockFile(theirs, 'shared'), lockFile(theirs, 'exclusive')]).toEqual([
    true,
    true,
    false,
  ]);
  expect([lockFile(mine, 'none'), lockFile(theirs, 'exclusive'), lockFile(mine, 'shared')]).toEqual([
    true,
    true,
    false,
  ]);
});

test('a path does not lead out of its folder', () => {
  mkdirSync(join(folder, 'inside', 'deep'), { recursive: true });
  writeFileSync(join(folder, 'secret'), 'secret');
  writeFileSync(join(folder, 'inside', 'file'), 'mine');
  symlinkSync('../secret', join(folder, 'inside', 'out'));
  symlinkSync('/etc/passwd', join(folder, 'inside', 'absolute'));
  symlinkSync('file', join(folder, 'inside', 'link'));
  const inside = open('inside', constants.O_DIRECTORY);
  const read = (path: string, options: Parameters<typeof openBeneath>[2] = {}): string => {
    const fd = keep(openBeneath(inside, path, options));
    return `${isCloseOnExec(fd)} ${readFileSync(fd, 'utf8')}`;
  };
  expect([read('file'), read('deep/../link')]).toEqual(['true mine', 'true mine']);
  for (const path of ['../secret', 'out', 'absolute', '/etc/passwd', 'deep/../../secret'])
    expect(() => read(path)).toThrow('openat2 failed with EXDEV');
  expect(() => read('link', { resolve: ['no-symlinks'] })).toThrow('ELOOP');
  expect(() => read('/etc/passwd', { resolve: ['in-root'] })).toThrow('ENOENT');
  expect(() => read('file\0')).toThrow('it holds NUL');
  const flags = constants.O_CREAT | constants.O_WRONLY;
  keep(openBeneath(inside, 'new', { flags, mode: 0o640 }));
  expect(statx(join(folder, 'inside', 'new')).mode & 0o777).toBe(0o640);
});

test('more is told of files than stat does', () => {
  writeFileSync(join(folder, 'file'), 'x'.repeat(5000));
  const fd = open('file', 'r');
  const status = statx(fd);
  expect(status).toMatchObject({ size: 5000, links: 1, uid: process.getuid?.(), attributes: [] });
  expect(Math.abs(status.modifiedMs - Date.now())).toBeLessThan(60_000);
  expect(status.blockSize).toBeGreaterThan(0);
  symlinkSync('file', join(folder, 'link'));
  expect(statx(join(folder, 'link')).mode & constants.S_IFMT).toBe(constants.S_IFLNK);
  expect(statx('/dev/null').special).toEqual({ major: 1, minor: 3 });
  expect(statx('/proc').attributes).toContain('mount-root');
  expect(() => statx(join(folder, 'none'))).toThrow('statx failed with ENOENT');
});

test('ranges are copied inside the kernel', () => {
  writeFileSync(join(folder, 'from'), '0123456789');
  writeFileSync(join(folder, 'to'), 'abcdefghij');
  const [from, to] = [open('from', 'r'), open('to', 'r+')];
  expect(copyFileRange(from, 2, to, 4, 3)).toBe(3);
  expect(copyFileRange(from, 10, to, 0, 3)).toBe(0);
  expect(readFileSync(join(folder, 'to'), 'utf8')).toBe('abcd234hij');
});

test('requests of ioctl are made as the kernel makes them', () => {
  // KVM_SET_USER_MEMORY_REGION, KVM_GET_SUPPORTED_CPUID, KVM_RUN and TUNGETIFF of the kernel's headers.
  expect(ioctlRequest('write', 0xae, 0x46, 32)).toBe(0x4020_ae46);
  expect(ioctlRequest('read-write', 0xae, 0x05, 8)).toBe(0xc008_ae05);
  expect(ioctlRequest('none', 0xae, 0x80)).toBe(0xae80);
  expect(ioctlRequest('read', 'T', 210, 4)).toBe(0x8004_54d2);
  const fd = keep(memfdCreate('plain'));
  expect(() => blockDeviceSize(fd)).toThrow('ioctl failed with ENOTTY');
  expect(() => ioctlNumber(-1, 0xae80, 0)).toThrow('ioctl failed with EBADF');
});

test('changes of a folder are told in order', async () => {
  const inotify = new Inotify();
  const id = inotify.add(folder, ['create', 'close-write', 'moved-from', 'moved-to', 'delete'], { onlyFolder: true });
  expect(inotify.read()).toEqual([]);
  const readable = new Promise<void>((resolve) => {
    const watching = watch(inotify.fd, { readable: true }, () => {
      watching[Symbol.dispose]();
      resolve();
    });
  });
  writeFileSync(join(folder, 'one'), '');
  mkdirSync(join(folder, 'two'));
  renameSync(join(folder, 'one'), join(folder, 'three'));
  await readable;
  const events = inotify.read();
  expect(events.map(({ events: [event], name, isFolder }) => `${event} ${name} ${isFolder}`)).toEqual([
    'create one false',
    'close-write one false',
    'create two true',
    'moved-from one false',
    'moved-to three false',
  ]);
  expect(events.every((event) => event.watch === id)).toBe(true);
  expect(events[3]?.cookie).toBe(events[4]?.cookie);
  inotify.remove(id);
  expect(inotify.read()).toMatchObject([{ events: ['ignored'], name: undefined }]);
  expect(() => inotify.add(join(folder, 'none'), ['modify'])).toThrow('inotify_add_watch failed with ENOENT');
  inotify[Symbol.dispose]();
  inotify[Symbol.dispose]();
  expect(() => inotify.read()).toThrow('was used after it was unmapped');
  expect(() => inotify.add(folder, ['create'])).toThrow('EBADF');
});

test('a blocked signal is read', async () => {
  blockSignals(['SIGUSR2']);
  const fd = keep(signalfd(['SIGUSR2']));
  expect(readSignal(fd)).toBeUndefined();
  // To this thread: signals to the process go to others.
  const { declare } = await import('./call.ts');
  const tgkill = declare<[number: number, pid: number, tid: number, signal: number], number | bigint>(
    'long syscall(long number, long pid, long tid, long signal)',
  );
  tgkill(process.arch === 'x64' ? 234 : 131, process.pid, process.pid, SIGUSR2);
  await vi.waitFor(() => expect(readSignal(fd)).toMatchObject({ signal: SIGUSR2, pid: process.pid }));
  blockSignals(['SIGUSR2'], false);
});

test('memory is written to a file by address, however it was opened', () => {
  using memory = mapAnonymous(16);
  const fd = open('by-address', 'w+');
  new Uint8Array(memory.buffer).set(Buffer.from('by address'));
  expect(rawPwrite(fd, memory.address, 10, 0)).toBe(10);
  expect(readFileSync(join(folder, 'by-address'), 'utf8')).toBe('by address');
});
