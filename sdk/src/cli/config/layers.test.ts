import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isRuntimeError, toErrorRecord } from '@runtime/core';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConfigFlags, type LoadedConfig, loadConfig } from './layers.ts';

let root: string;
let cwd: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'config-'));
  cwd = join(root, 'project/deep');
  mkdirSync(cwd, { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, text: string): string {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}
const user = (text: string): string => write('config/runtime/config.yaml', text);
const project = (text: string): string => write('project/runtime.config.yaml', text);
const load = (flags: ConfigFlags = {}, env: Record<string, string> = {}): Promise<LoadedConfig> =>
  loadConfig({ HOME: root, XDG_CONFIG_HOME: join(root, 'config'), ...env }, cwd, flags);

/** Every mistake as `place: why`, without the temporary folder. */
async function mistakes(flags: ConfigFlags = {}, env: Record<string, string> = {}): Promise<readonly string[]> {
  try {
    await load(flags, env);
    return [];
  } catch (e) {
    const record = toErrorRecord(e);
    const all = record.cause?.errors ?? [record];
    return all.map(({ message }) => message.replaceAll(`${root}/`, ''));
  }
}

describe('layers', () => {
  it('lie over each other: defaults, user, project, environment, flags', async () => {
    user('log: { level: debug }\nonFailure: continue\ntimeouts: { setupMs: 1, readyMs: 2 }');
    project('log: { level: warn }\ntimeouts:\n  readyMs: 3');
    const { config, origin } = await load(
      { set: ['timeouts.quiesceMs=5'] },
      { RUNTIME_LOG_LEVEL: 'error', RUNTIME_TRACE_HISTORY: '7' },
    );
    expect(config).toMatchObject({
      log: { level: 'error' },
      onFailure: 'continue',
      trace: { history: 7 },
      timeouts: { setupMs: 1, readyMs: 3, quiesceMs: 5, disposeMs: 5_000 },
    });
    expect(
      [['log', 'level'], ['onFailure'], ['timeouts', 'readyMs'], ['timeouts', 'quiesceMs'], ['timeouts', 'tapMs']].map(
        origin,
      ),
    ).toEqual([
      'environment variable RUNTIME_LOG_LEVEL',
      `${root}/config/runtime/config.yaml:2`,
      `${root}/project/runtime.config.yaml:3`,
      '--set timeouts.quiesceMs=5',
      'default',
    ]);
  });

  it('mix the settings of a plugin key by key, and replace lists', async () => {
    user('plugins: [a, b]\nsettings: { a: { isolation: process, config: { x: 1, list: [1, 2], deep: { y: 1 } } } }');
    project('plugins: [c]\nsettings: { a: { config: { list: [3], deep: { z: 2 } } } }');
    const { config } = await load({ isolation: ['b=process'] });
    expect(config.plugins).toEqual(['c']);
    expect(config.settings).toEqual({
      a: { isolation: 'process', config: { x: 1, list: [3], deep: { y: 1, z: 2 } } },
      b: { isolation: 'process' },
    });
  });

  it('mean paths in a file from where the file is', async () => {
    project('plugins: [./mine, ../other, name]');
    expect((await load()).config.plugins).toEqual([join(root, 'project/mine'), join(root, 'other'), 'name']);
  });

  it('leave the files out when another is named', async () => {
    user('log: { level: debug }');
    const file = write('other.yaml', 'onFailure: continue');
    for (const named of [await load({ config: file }), await load({}, { RUNTIME_CONFIG: file })]) {
      expect(named.config).toMatchObject({ log: { level: 'info' }, onFailure: 'continue' });
      expect(named.files).toEqual([file]);
    }
  });

  it('keep every digit of the bounds of a pool, and never mix two kinds', async () => {
    user(
      'pools: { mem: { kind: range, base: 0x1_0, size: 1 }, cid: { kind: id, from: 3, to: 18446744073709551615 } }'.replace(
        '0x1_0',
        '0x10',
      ),
    );
    const { config } = await load({ set: ['pools.mem={"kind":"count","total":"0xffffffffffffffff"}'] });
    expect(config.pools).toEqual({
      cid: { kind: 'id', from: 3n, to: 2n ** 64n - 1n },
      mem: { kind: 'count', total: 2n ** 64n - 1n },
    });
  });

  it('take a key that is called like a property of every object', async () => {
    const { config } = await load({ set: ['settings.__proto__.config.polluted=1'] });
    expect(({} as { config?: unknown }).config).toBeUndefined();
    expect(Object.getPrototypeOf(config.settings)).toBe(Object.prototype);
  });
});

describe('mistakes', () => {
  it('are reported all at once, with file, line, column and the nearest name', async () => {
    user('plugins: [a]\nsettings:\n  hello:\n    isoaltion: process\n    limits: { memoryMb: lots }\nlogs: {}\n');
    expect(await mistakes()).toEqual([
      'config/runtime/config.yaml:4:5: unknown key "isoaltion"; did you mean "isolation"?',
      'config/runtime/config.yaml:5:25: settings.hello.limits.memoryMb: expected number, received string',
      'config/runtime/config.yaml:6:1: unknown key "logs"; did you mean "log"?',
    ]);
  });

  it.each([
    ['plugins: [a', 'project/runtime.config.yaml:1:12: '],
    ['a: 1\na: 2', 'project/runtime.config.yaml:2:1: '],
    ['- a', 'project/runtime.config.yaml:1:1: expected object'],
    ['pools:\n  p: { kind: id, from: 1 }', 'project/runtime.config.yaml:2:6: pools.p.to: it is missing'],
    ['pools:\n  p: { kind: ids }', 'project/runtime.config.yaml:2:14: pools.p.kind: '],
    ['x: &a [*a]', 'project/runtime.config.yaml:1:'],
    ['timeouts: { setupMs: 0 }', 'project/runtime.config.yaml:1:22: timeouts.setupMs: '],
  ])('in %j are found', async (text, place) => {
    project(text);
    const [first] = await mistakes();
    expect(first).toContain(place);
  });

  it.each<[ConfigFlags, Record<string, string>, string]>([
    [{ set: ['nonsense'] }, {}, '--set: "nonsense" is not of the form path=value'],
    [{ set: ['log.levle=warn'] }, {}, '--set log.levle=warn: unknown key "levle"; did you mean "level"?'],
    [{ isolation: ['a=vm'] }, {}, '--isolation a=vm: settings.a.isolation: '],
    [{}, { RUNTIME_LOG_LEVEL: 'loud' }, 'environment variable RUNTIME_LOG_LEVEL: log.level: '],
    [{ config: '/nonexistent.yaml' }, {}, '/nonexistent.yaml cannot be read: ENOENT'],
  ])('of %j and %j are named by their source', async (flags, env, text) => {
    const [first] = await mistakes(flags, env);
    expect(first).toContain(text);
  });

  it('of a hostile file end with a coded error', async () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
    for (let i = 0; i < 12; i++) {
      const [letter, last] = [String.fromCharCode(98 + i), String.fromCharCode(97 + i)];
      bomb.push(`${letter}: &${letter} [${Array.from({ length: 9 }, () => `*${last}`).join(', ')}]`);
    }
    project(bomb.join('\n'));
    expect((await mistakes())[0]).toContain('alias');
    truncateSync(project(''), 2 * 1024 * 1024);
    expect((await mistakes())[0]).toContain('2097152 bytes');
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme-ascii', maxLength: 60 }), async (text) => {
        project(text);
        await load().catch((e: unknown) => {
          if (!isRuntimeError(e)) throw e;
        });
      }),
      { numRuns: 300 },
    );
  });

  it('include a file that everybody may write', async () => {
    chmodSync(project('plugins: [evil]'), 0o666);
    expect((await mistakes())[0]).toContain('project/runtime.config.yaml is not used, since everybody may write it');
  });
});
