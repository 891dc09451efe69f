import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { diskRig, type Rig } from '../disks/test-rig.ts';
import { addDisk } from './disk.ts';

const MIB = 2 ** 20;

function commandsOf({ disks }: Rig): Promise<TestRuntime> {
  const plugin = definePlugin({ name: 'disk-commands', setup: (ctx) => addDisk(ctx.commands, disks) });
  return createTestRuntime({ plugins: [plugin] });
}

test('a disk is made, resized, exported, imported and removed', async () => {
  await using rig = diskRig();
  await using runtime = await commandsOf(rig);
  const file = join(rig.folder, 'a.zst');
  const made = await runtime.run('disk create', { args: ['a', '4M'], options: { allocation: 'sparse' } });
  expect(made.data).toMatchObject([{ vm: 'a', bytes: 4 * MIB }]);
  await expect(runtime.run('disk create', { args: ['a', '4M'] })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_EXISTS',
  });
  await runtime.run('disk resize', { args: ['a', '+4M'] });
  const exported = await runtime.run('disk export', { args: ['a', file], options: { digest: `${file}.sum` } });
  expect(exported.progress[0]).toBe('exporting the disk of a');
  expect(statSync(`${file}.sum`).size).toBe(65);
  await runtime.run('disk import', { args: ['b', file] });
  const [table] = (await runtime.run('disk list')).data;
  expect(table).toMatchObject([
    { vm: 'a', bytes: 8 * MIB, type: 'termina' },
    { vm: 'b', bytes: 8 * MIB, type: 'termina' },
  ]);
  expect((await runtime.run('disk list', { args: ['b'], options: { quiet: true } })).out).toEqual(['b']);
  const [jobs] = (await runtime.run('disk status')).data;
  expect(jobs).toMatchObject(['resize', 'export', 'import'].map((kind) => ({ kind, state: 'done', why: null })));
  await runtime.run('disk destroy', { args: ['a'] });
  await expect(runtime.run('disk resize', { args: ['a', '+1M'] })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_NOT_FOUND',
  });
});

test('what fails is told as the failure of the command', async () => {
  await using rig = diskRig();
  await using runtime = await commandsOf(rig);
  await expect(runtime.run('disk import', { args: ['a', process.execPath] })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_IMAGE',
  });
  await expect(runtime.run('disk create', { args: ['a', 'much'] })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_SIZE',
  });
  await expect(runtime.run('disk cancel', { args: ['none'] })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_JOB_NOT_FOUND',
  });
});

test('whoever goes away takes the export along; one in the background goes on', async () => {
  await using rig = diskRig();
  await using runtime = await commandsOf(rig);
  const file = join(rig.folder, 'a.zst');
  await runtime.run('disk create', { args: ['a', '64M'] });
  const gone = new AbortController();
  const running = runtime.run('disk export', { args: ['a', file], signal: gone.signal });
  const failure = expect(running).rejects.toThrow('gone');
  await expect.poll(async () => (await rig.disks.jobs()).length).toBe(1);
  gone.abort(new Error('gone'));
  await failure;
  expect(existsSync(file)).toBe(false);
  const { data } = await runtime.run('disk export', { args: ['a', file], options: { detach: true } });
  const [{ uuid }] = data as [{ readonly uuid: string }];
  expect(await rig.disks.wait(uuid)).toMatchObject({ state: 'done' });
});
