import { tmpdir } from 'node:os';
import { connectBus } from '@runtime/sdk/dbus';
import { hasDbusDaemon, startPrivateBus } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { checkMemory, checkSpace } from './checks.ts';
import { checkBus } from './dbus/bus-check.ts';
import { SERVICE } from './dbus/methods.ts';
import { lackOfSystemd, scopesBus } from './systemd/scopes.ts';

test('memory that is there but taken is told of', () => {
  const config = { mem: { full: 1024, fast: 512 }, profile: 'full' } as const;
  expect(checkMemory(config, { totalMib: 8000, availableMib: 4000 })).toEqual({
    ...{ status: 'ok', found: '4000 MiB free of 8000, 1024 MiB for a VM' },
  });
  expect(checkMemory(config, { totalMib: 8000, availableMib: 500 })).toMatchObject({ status: 'warn' });
  const small = checkMemory(config, { totalMib: 1500, availableMib: 1400 });
  expect(small).toMatchObject({ status: 'warn', remedy: expect.stringContaining('mem.full') });
  const here = checkMemory({ ...config, mem: { full: 2 ** 40, fast: 1 } });
  expect(here.found).toMatch(/^[1-9]\d* MiB free of [1-9]\d*,/);
});

test('room is that of the file system in which a folder lies, or would', () => {
  const folders = { disks: `${tmpdir()}/not/there`, images: '/proc' };
  // There is no room in /proc.
  expect(checkSpace(folders, { diskGib: 1 })).toMatchObject({
    ...{ status: 'warn', found: expect.stringMatching(/^[\d.]+ GiB for disks of VMs, 0\.0 GiB for images$/) },
    remedy: expect.stringContaining('runtime termina remove'),
  });
  const { found } = checkSpace({ ...folders, images: tmpdir() }, { diskGib: 65_536 });
  expect(found).toContain('a disk of 65536 GiB will not get full');
});

test.runIf(hasDbusDaemon())('the doctor tells who has the name on the bus, and whether systemd is there', async () => {
  await using daemon = await startPrivateBus();
  expect(await checkBus(daemon.address)).toEqual({ status: 'ok', found: `${SERVICE} is free at ${daemon.address}` });
  expect(await lackOfSystemd(daemon.address)).toContain('systemd1');
  await using bus = await connectBus({ bus: daemon.address });
  await bus.requestName(SERVICE);
  await bus.requestName('org.freedesktop.systemd1');
  expect(await checkBus(daemon.address)).toMatchObject({
    ...{ status: 'warn', found: expect.stringContaining(`belongs to pid ${process.pid} (`) },
  });
  expect(await lackOfSystemd(daemon.address)).toBe(undefined);
  expect(await checkBus('unix:path=/nowhere/bus')).toMatchObject({ status: 'warn' });
  expect(await checkBus('off')).toMatchObject({ status: 'ok' });
  expect([scopesBus('off'), scopesBus('session')]).toEqual([undefined, 'session']);
});
