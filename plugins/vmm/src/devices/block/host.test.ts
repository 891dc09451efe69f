import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openBlock } from './host.ts';
import { type BlockOptions, blockOptions, DEFAULTS } from './options.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'block-host-'));
  path = join(folder, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, 2 ** 20);
});
afterEach(() => rmSync(folder, { recursive: true }));

const code = (code: string, text: string) => expect.objectContaining({ code, message: expect.stringContaining(text) });

test('an image is opened with the options that the device process needs', () => {
  using opened = openBlock({ path, serial: 'one', queues: 2 });
  expect(opened.options).toEqual({ ...DEFAULTS, serial: 'one', queues: 2 });
  expect(Object.keys(opened.fds)).toEqual(['disk']);
});

test('two writers do not get one image, two readers do', () => {
  const writer = openBlock({ path });
  expect(() => openBlock({ path })).toThrow(code('VMM_ERR_DISK_IN_USE', path));
  expect(() => openBlock({ path, readonly: true })).toThrow(code('VMM_ERR_DISK_IN_USE', path));
  writer[Symbol.dispose]();
  using _one = openBlock({ path, readonly: true });
  using _two = openBlock({ path, readonly: true });
  expect(() => openBlock({ path })).toThrow(code('VMM_ERR_DISK_IN_USE', path));
});

test('a process that has the descriptor keeps the image locked', async () => {
  const opened = openBlock({ path });
  const child = spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', opened.fds.disk as number] });
  await once(child, 'spawn');
  opened[Symbol.dispose]();
  expect(() => openBlock({ path })).toThrow(code('VMM_ERR_DISK_IN_USE', path));
  child.kill('SIGKILL');
  await once(child, 'exit');
  openBlock({ path })[Symbol.dispose]();
});

test('the format is that of the name, and never guessed from the content', () => {
  const magic = Buffer.alloc(512);
  magic.writeUInt32BE(0x514649fb);
  writeFileSync(path, magic);
  expect(() => openBlock({ path })).toThrow(code('VMM_ERR_DISK_OPEN', 'begins as a qcow2 file'));
  using raw = openBlock({ path, format: 'raw' });
  expect(raw.options.format).toBe('raw');
});

test.each([
  ['is not there', (): string => join(folder, 'none'), 'no such file'],
  ['is a folder', (): string => folder, 'neither a file nor a block device'],
  ['is a terminal', (): string => '/dev/tty', 'neither a file nor a block device'],
  ['is /dev/null', (): string => '/dev/null', 'neither a file nor a block device'],
] as const)('what %s is refused', (_name, where, why) => {
  expect(() => openBlock({ path: where() })).toThrow(code('VMM_ERR_DISK_OPEN', why));
});

test('an empty file is refused, one that is no whole blocks too, and a link is followed', () => {
  truncateSync(path, 0);
  expect(() => openBlock({ path })).toThrow(code('VMM_ERR_DISK_OPEN', 'empty'));
  truncateSync(path, 512);
  expect(() => openBlock({ path, blockSize: 4096 })).toThrow(code('VMM_ERR_DISK_OPEN', '4096'));
  const link = join(folder, 'link.img');
  symlinkSync(path, link);
  openBlock({ path: link })[Symbol.dispose]();
});

test('options are checked, each of them', async () => {
  const check = (value: unknown) => blockOptions['~standard'].validate(value);
  expect(await check(undefined)).toEqual({ value: DEFAULTS });
  expect(await check({ queues: 16, queueSize: 1024, blockSize: 4096, serial: 'x'.repeat(20) })).toHaveProperty('value');
  const wrong: Record<keyof BlockOptions, unknown> = {
    readonly: 1,
    serial: 'ü'.repeat(11),
    blockSize: 1024,
    queues: 17,
    queueSize: 100,
    format: 'vmdk',
    backing: ['vmdk'],
    discard: 'yes',
    direct: null,
  };
  const { issues = [] } = await check({ ...wrong, path: '/etc/passwd' });
  expect(issues.flatMap(({ path }) => path)).toEqual(['path', ...Object.keys(wrong)]);
  expect(await check({ backing: ['raw'] })).toHaveProperty('issues');
  expect(await check({ format: 'qcow2', direct: true })).toHaveProperty('issues');
  expect(await check([])).toHaveProperty('issues');
  expect(await check('text')).toHaveProperty('issues');
});
