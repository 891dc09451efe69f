// tremplin with the LXD of this machine: no VM is needed for what it does.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runProgram } from '../maitred/system.ts';
import { parseSubnet } from './container-network.ts';
import type { HostMethod, TellHost } from './host.ts';
import { type RunningTremplin, startTremplin } from './index.ts';
import { type LxdRig, lackingForLxd, lxdRig } from './lxd-rig.ts';

const lacking = lackingForLxd();
if (lacking !== undefined) console.log(`skipped: there is no ${lacking}`);

const TOKEN = '5f7c1f9e-5c5e-4d64-9a5e-0d0d6d3d7a10';
const subnet = parseSubnet('100.115.92.193/28');
if (subnet === undefined) throw new TypeError('it is a subnet');

describe.skipIf(lacking !== undefined)('with an LXD', { timeout: 60_000 }, () => {
  let rig: LxdRig;
  let tremplin: RunningTremplin;
  const told: { readonly method: HostMethod; readonly news: Record<string, unknown> }[] = [];
  const tell: TellHost = (method, news) => void told.push({ method, news });

  const start = (): RunningTremplin =>
    startTremplin({
      ...{ system: { run: runProgram }, log: (_, text) => console.log(text), tell, milestone: 140, subnet },
      ...{ within: rig.within, tokens: join(rig.folder, 'tokens') },
      folders: {
        ...{ lxd: rig.folder, shared: join(rig.folder, 'shared') },
        ...{ tools: join(rig.folder, 'none'), external: join(rig.folder, 'none') },
      },
    });
  const news = async (method: HostMethod, status: string): Promise<Record<string, unknown>> => {
    for (const until = Date.now() + 50_000; Date.now() < until; await sleep(20)) {
      const at = told.findIndex((each) => each.method === method && each.news.status === status);
      if (at >= 0) return told.splice(at, 1)[0]?.news ?? {};
      const bad = told.find((each) => each.method === method && each.news.status === 'FAILED');
      if (bad !== undefined) throw new Error(`${method}: ${JSON.stringify(bad.news)}`);
    }
    throw new Error(`no ${method} ${status}; there was ${JSON.stringify(told)}`);
  };
  type Handlers = RunningTremplin['handlers'];
  const ask = <M extends keyof Handlers>(method: M, request: object): ReturnType<Handlers[M]> => {
    const handle = tremplin.handlers[method] as (request: object, call: object) => ReturnType<Handlers[M]>;
    return handle(request, { signal: AbortSignal.timeout(60_000) });
  };
  const create = (name: string): ReturnType<Handlers['CreateContainer']> =>
    ask('CreateContainer', {
      ...{ container_name: name, image_server: '', image_alias: '' },
      ...{ rootfs_path: rig.image.rootfs, metadata_path: rig.image.metadata },
    });
  const startContainer = (name: string): ReturnType<Handlers['StartContainer']> =>
    ask('StartContainer', {
      container_name: name,
      token: TOKEN,
      privilege_level: 'UNCHANGED',
      disable_audio_capture: false,
    });
  const inContainer = (name: string, ...argv: string[]): Promise<string> =>
    tremplin.lxd.client.exec(name, argv).then(({ stdout, stderr, code }) => `${stdout}${stderr}${code || ''}`);

  beforeAll(async () => {
    rig = await lxdRig();
    tremplin = start();
  });
  afterAll(async () => {
    tremplin?.[Symbol.dispose]();
    await rig?.[Symbol.asyncDispose]();
  });

  test('before LXD runs, everything says so', async () => {
    expect(await create('penguin')).toMatchObject({
      status: 'FAILED',
      failure_reason: expect.stringMatching(/StartLxd/),
    });
  });

  test('LXD is started once', async () => {
    expect(await ask('StartLxd', { reset_lxd_db: false })).toEqual({ status: 'STARTING' });
    await news('UpdateStartLxdStatus', 'STARTED');
    expect(await ask('StartLxd', { reset_lxd_db: false })).toEqual({
      status: 'ALREADY_RUNNING',
    });
  });

  test('a container from files has a user and runs, with its token and an address', async () => {
    expect(await create('penguin')).toEqual({ status: 'CREATING' });
    await news('UpdateCreateStatus', 'CREATED');
    expect(await create('penguin')).toEqual({ status: 'EXISTS' });
    const request = { container_name: 'penguin', container_username: 'ada' };
    expect(await ask('SetUpUser', request)).toEqual({
      ...{ status: 'SUCCESS', username: 'ada' },
    });
    // Again it only looks.
    expect(await ask('SetUpUser', request)).toEqual({ status: 'SUCCESS', username: 'ada' });
    expect(await startContainer('penguin')).toMatchObject({
      ...{ status: 'STARTING', os_release: { id: 'busybox', pretty_name: 'Busybox of a test' } },
    });
    await news('UpdateStartStatus', 'STARTED');
    expect(await inContainer('penguin', 'cat', '/dev/.container_token')).toBe(TOKEN);
    expect(await inContainer('penguin', 'id', 'ada')).toMatch(/uid=1000\(ada\) gid=1000\(ada\)/);
    expect(await inContainer('penguin', 'ls', '-ld', '/home/ada')).toMatch(/1000 +1000|ada +ada/);
    const name = { container_name: 'penguin' };
    expect(await ask('GetContainerUsername', name)).toEqual({
      ...{ status: 'SUCCESS', username: 'ada', homedir: '/home/ada' },
    });
    // 100.115.92.194, as in_addr lies in memory: there is no DHCP client in it.
    await inContainer('penguin', 'ip', 'address', 'add', '100.115.92.194/28', 'dev', 'eth0');
    await inContainer('penguin', 'ip', 'link', 'set', 'eth0', 'up');
    expect(await ask('GetContainerInfo', name)).toEqual({
      ...{ status: 'RUNNING', ipv4_address: 0xc25c7364 },
    });
    expect(await startContainer('penguin')).toMatchObject({ status: 'RUNNING' });
    const { debug_information } = await ask('GetDebugInfo', {});
    expect(debug_information).toMatch(/penguin: Running, privileged: false/);
  });

  test('without timedated, the time zone is that of its environment', async () => {
    const zone = {
      timezone_name: 'Europe/Berlin',
      posix_tz_string: 'CET-1CEST',
      container_names: ['penguin', 'nobody'],
    };
    const result = await ask('SetTimezone', zone);
    expect(result).toMatchObject({ successes: 1, failure_reasons: [expect.stringMatching(/^nobody: /)] });
    expect(await inContainer('penguin', 'env')).toMatch(/^TZ=CET-1CEST$/m);
  });

  test('when LXD is killed, it is started again, and the container has not noticed', async () => {
    const before = await inContainer('penguin', 'cat', '/proc/sys/kernel/random/boot_id');
    await rig.killLxd();
    await news('UpdateStartLxdStatus', 'RECOVERING');
    await news('UpdateStartLxdStatus', 'STARTED');
    expect(await inContainer('penguin', 'cat', '/proc/sys/kernel/random/boot_id')).toBe(before);
  });

  test('a tremplin that was killed is followed by one that finds LXD running', async () => {
    tremplin[Symbol.dispose]();
    tremplin = start();
    await tremplin.lxd.adopt();
    await news('UpdateStartLxdStatus', 'STARTED');
    expect(await startContainer('penguin')).toMatchObject({ status: 'RUNNING' });
  });

  test('a container that stops is told, and can be deleted', async () => {
    const name = { container_name: 'penguin' };
    expect(await ask('StopContainer', name)).toEqual({ status: 'STOPPING' });
    await news('UpdateStopStatus', 'STOPPED');
    expect(
      told.some(
        ({ method, news: { container_name } }) => method === 'ContainerShutdown' && container_name === 'penguin',
      ),
    ).toBe(true);
    expect(await ask('DeleteContainer', name)).toEqual({ status: 'DELETING' });
    await news('UpdateDeletionStatus', 'DELETED');
    expect(await ask('GetContainerInfo', name)).toEqual({ status: 'NOT_FOUND' });
  });

  test.each(['crostini-inprogress-create', 'x-crostini-recover', '../x', 'a b', '', 'x'.repeat(64)])(
    'nobody gets a container named %j',
    async (name) => {
      expect(await create(name)).toMatchObject({ status: 'FAILED' });
      expect(await startContainer(name)).toMatchObject({ status: 'FAILED' });
    },
  );

  test('files that are no image are refused, and leave nothing', async () => {
    rig.image.rootfs = '/dev/null';
    expect(await create('broken')).toEqual({ status: 'CREATING' });
    await expect(news('UpdateCreateStatus', 'CREATED')).rejects.toThrow(/no file with an image/);
    expect(await tremplin.lxd.client.instances()).toEqual([]);
    expect(existsSync(join(rig.folder, 'containers/crostini-inprogress-create'))).toBe(false);
  });
});
