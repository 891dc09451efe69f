import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger, ManagedProcess } from '@runtime/sdk';
import { driveDevice } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { findProgram } from '../../machine/qemu/programs.ts';
import { openNet } from './host.ts';
import device from './index.ts';
import { formatMac, isStation, parseMac, randomMac } from './mac.ts';
import { isPortSpec, passtArguments } from './passt.ts';
import { MAC, RX, TX, until, withHeader } from './test-rig.ts';

const log = { debug: () => {} } as unknown as Logger;

test('nothing is forwarded by passt that was not asked for', () => {
  expect(passtArguments('/bin/passt', { mtu: 0, tcp: [], udp: [] }).join(' ')).toBe(
    '/bin/passt --foreground --quiet --stderr --tcp-ports none --udp-ports none --fd 3',
  );
  expect(passtArguments('/bin/passt', { mtu: 1400, tcp: ['2222:22', '80'], udp: ['53'] }).join(' ')).toContain(
    '--mtu 1400 --tcp-ports 2222:22 --tcp-ports 80 --udp-ports 53 --fd 3',
  );
});

test('a guest behind passt can have addresses of its own', () => {
  const guest = { address: '100.115.92.26/30', gateway: '100.115.92.25', dns: '100.115.92.3' };
  expect(passtArguments('/bin/passt', { mtu: 0, tcp: [], udp: [], guest }).join(' ')).toContain(
    '--ipv4-only --address 100.115.92.26 --netmask 30 --gateway 100.115.92.25 --dns-forward 100.115.92.3 --no-map-gw --tcp-ports none',
  );
});

test('ports are ports', () => {
  for (const right of ['80', '8000-8010', '2222:22', '127.0.0.1/80', '::1/80:81', 'fe80::1%eth0/22']) {
    expect([right, isPortSpec(right)]).toEqual([right, true]);
  }
  for (const wrong of ['', '-t', '80 --runas 0', '80,81', 'all', '/80', '123456', '80:', 22, undefined]) {
    expect([wrong, isPortSpec(wrong)]).toEqual([wrong, false]);
  }
});

test('addresses that are made up are local and of one station', () => {
  for (let i = 0; i < 100; i++) {
    const bytes = parseMac(randomMac());
    expect(bytes !== undefined && isStation(bytes) && ((bytes[0] as number) & 2) === 2).toBe(true);
  }
  expect(formatMac(parseMac('0A:00:00:00:00:ff') ?? new Uint8Array())).toBe('0a:00:00:00:00:ff');
  for (const wrong of ['', '02:00:00:00:00', '02-00-00-00-00-07', 'gg:00:00:00:00:00', '00:00:00:00:00:00', 7]) {
    expect(parseMac(wrong)).toBeUndefined();
  }
});

test.each([
  [{ backend: 'passt', tcp: ['--help'] }, 'it takes no port "--help"'],
  [{ backend: 'passt', pairs: 2 }, 'it has one pair of queues'],
  [{ backend: 'tap', tapName: 'a name that is too long' }, 'cannot be used for device net0'],
])('%o is refused', async (options, why) => {
  const reason = findProgram('passt') === undefined && options.backend === 'passt' ? 'it is not there' : why;
  await expect(
    openNet({ id: 'net0', options, log, spawn: () => Promise.reject(new Error('not this')) }),
  ).rejects.toThrow(reason);
});

const passt = findProgram('passt');
if (passt === undefined) process.stdout.write('passt is not installed: it is not tested\n');

test.skipIf(passt === undefined)('passt answers the guest, and comes back when it has ended', async ({ skip }) => {
  const started: { kill(): void; exited: Promise<unknown> }[] = [];
  const half = await openNet({
    id: 'net0',
    options: { backend: 'passt', mac: MAC },
    log,
    spawn: async ({ argv, fds = [] }) => {
      const [file, ...args] = argv;
      const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'ignore', fds[0]?.parent] });
      const exited = new Promise((resolve) => child.once('exit', resolve));
      const stop = async (): Promise<void> => {
        child.kill();
        await exited;
      };
      started.push({ kill: () => child.kill('SIGKILL'), exited });
      return { stop, exited } as unknown as ManagedProcess;
    },
  });
  try {
    await using driven = await driveDevice(device, {
      options: half.options,
      request: async (method, params, fds) => {
        const { value, fds: answer = [] } = (await half.handle?.(method, params, fds)) ?? { value: null };
        return { value, fds: answer };
      },
    });
    const rx = driven.queue(RX);
    for (let i = 0; i < 8; i++) rx.add([], [1526]);
    rx.kick();
    for (let round = 1; round <= 2; round++) {
      await until(() => started.length === round);
      // DHCP needs no address of the host to be known here: a discover is always answered.
      const discovered = driven.stats.rxFrames ?? 0;
      for (let tries = 0; tries < 20 && (driven.stats.rxFrames ?? 0) === discovered; tries++) {
        await driven.exchange([withHeader(dhcpDiscover())], [], TX);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      if (driven.stats.rxFrames === 0) return skip('passt has no network to offer here');
      const [offer] = await driven.completions(1, RX);
      const packet = Buffer.from(offer?.data.subarray(12) ?? []);
      // IPv4, UDP, from port 67 to 68.
      expect([packet.readUInt16BE(12), packet[23], packet.readUInt16BE(34), packet.readUInt16BE(36)]).toEqual([
        0x0800, 17, 67, 68,
      ]);
      if (round === 1) started[0]?.kill();
    }
    expect(driven.stats.lost).toBe(1);
  } finally {
    await half.close();
    await Promise.all(started.map(({ exited }) => exited));
  }
});

function dhcpDiscover(): Uint8Array {
  const dhcp = Buffer.alloc(300);
  dhcp.set([1, 1, 6, 0, 1, 2, 3, 4]);
  dhcp.set(parseMac(MAC) ?? [], 28);
  dhcp.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
  const udp = Buffer.from([0, 68, 0, 67, 0, 0, 0, 0]);
  udp.writeUInt16BE(udp.length + dhcp.length, 4);
  const ip = Buffer.from([0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
  ip.writeUInt16BE(ip.length + udp.length + dhcp.length, 2);
  let sum = 0;
  for (let i = 0; i < ip.length; i += 2) sum += ip.readUInt16BE(i);
  ip.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 10);
  const ethernet = Buffer.from([255, 255, 255, 255, 255, 255, ...(parseMac(MAC) ?? []), 8, 0]);
  return Buffer.concat([ethernet, ip, udp, dhcp]);
}

const namespace = spawnSync('unshare', ['--net', 'true']).status === 0 && existsSync('/dev/net/tun');
if (!namespace) process.stdout.write('no network namespace can be made here: real taps are not tested\n');

test.skipIf(!namespace)('the kernel and a guest talk through a tap with two pairs of queues', () => {
  const program = join(import.meta.dirname, 'test-programs', 'guest-on-tap.ts');
  const { stdout, stderr } = spawnSync(
    'unshare',
    ['--net', process.execPath, '--conditions=@runtime/source', program],
    {
      encoding: 'utf8',
    },
  );
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({
    name: 'rt0',
    offload: true,
    queues: 5,
    mtu: [0, 9000],
    advertised: true,
    checksumLeftToGuest: true,
    large: true,
    received: [20_000],
    commands: 0,
  });
});

test('closing gives the descriptors back', async () => {
  if (!namespace) return;
  const half = await openNet({
    id: 'net0',
    options: { backend: 'tap', tapName: 'rt-close' },
    log,
    spawn: () => Promise.reject(),
  });
  expect(half.options).toMatchObject({ backend: 'tap', queuePairs: 1, mtu: 0 });
  await half.close();
  expect(() => closeSync(half.fds.tap0 as number)).toThrow('EBADF');
});
