// A device that is compiled into the program of its process: used while its sources are unchanged, and only then.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { connectUnix, listenUnix } from '@runtime/sdk/linux';
import { CompiledHosts, ControlLink, deviceProcess } from '@runtime/sdk/virtio';
import { afterEach, beforeEach, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
const run = promisify(execFile);

let folder: string;
/** A copy of the plugin, whose code may be changed. */
let place: { readonly root: string; readonly file: string };
let runs: number;
let hosts: CompiledHosts;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'compiled-'));
  const root = join(folder, 'vmm');
  cpSync(join(ROOT, 'plugins/vmm'), root, { recursive: true, filter: (path) => !path.includes('node_modules') });
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  place = { root, file: join(root, 'src/devices/rng/index.ts') };
  runs = 0;
  hosts = new CompiledHosts({
    folder: join(folder, 'hosts'),
    run: async ([file, ...args]) => {
      runs += 1;
      await run(file, args);
    },
  });
});
afterEach(() => rmSync(folder, { recursive: true }));

function rename(name: string): void {
  const source = readFileSync(place.file, 'utf8');
  writeFileSync(place.file, source.replace(/name: '\w+',\n {2}type/, `name: '${name}',\n  type`));
}

/** What the process says its device is called, and again after its code was loaded anew. */
async function namesOf(program: string | undefined, compiled: string | undefined): Promise<readonly unknown[]> {
  const control = join(folder, 'control.sock');
  const listener = listenUnix(control, { type: 'seqpacket' });
  const { argv, env } = deviceProcess('rng0', program);
  const [file, ...args] = argv;
  const child = spawn(file, args, {
    stdio: ['ignore', 'ignore', 'inherit', listener],
    env: { ...process.env, ...env },
  });
  closeSync(listener);
  const link = new ControlLink(connectUnix(control, { type: 'seqpacket' }), {
    name: 'rng0',
    handle: () => ({ value: null }),
  });
  const name = async (): Promise<unknown> =>
    ((await link.request('describe', null)).value as { device: { name: unknown } }).device.name;
  try {
    await link.request('load', { id: 'rng0', ...place, options: {}, names: [], ...(compiled && { compiled }) });
    const before = await name();
    await link.request('reload', place);
    return [before, await name()];
  } finally {
    link[Symbol.dispose]();
    rmSync(control);
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

test('is made once, and again when a source has changed', async () => {
  expect(hosts.find(place)).toBeUndefined();
  const [first, twin] = await Promise.all([hosts.ensure(place), hosts.ensure(place)]);
  expect(first?.stamp).toMatch(/^[0-9a-f]{16}$/);
  expect(twin).toEqual(first);
  expect(await hosts.ensure(place)).toEqual(first);
  expect(runs).toBe(1);
  rename('other');
  expect(hosts.find(place)).toBeUndefined();
  expect((await hosts.ensure(place))?.stamp).not.toBe(first?.stamp);
});

test('its process has the device that was compiled, and loads the files when they say something else', async () => {
  const host = await hosts.ensure(place);
  rename('other');
  // As if nobody had noticed the change.
  expect(await namesOf(host?.file, host?.stamp)).toEqual(['rng', 'other']);
  expect(await namesOf(host?.file, undefined)).toEqual(['other', 'other']);
});

test('its process starts from the modules when the compiled file is gone', async () => {
  const host = await hosts.ensure(place);
  rmSync(join(folder, 'hosts'), { recursive: true });
  expect(await namesOf(host?.file, host?.stamp)).toEqual(['rng', 'rng']);
});

test('what does not compile is left to the modules, and not tried again', async () => {
  writeFileSync(place.file, 'export default {');
  expect(await hosts.ensure(place)).toBeUndefined();
  expect(await hosts.ensure(place)).toBeUndefined();
  expect(runs).toBe(1);
});
