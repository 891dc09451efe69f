// A Debian guest with all our devices: what a user does with a disk, random numbers and sockets, compared byte by byte.

import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vsockConnect } from '../../plugins/vmm/src/contract.ts';
import { hostPortSocket, vsockSocket } from '../../plugins/vmm/src/devices/vsock/host.ts';
import { echoServer } from './echo-server.ts';
import { fsx } from './fsx.ts';
import { type Booted, Lab, lacking } from './lab.ts';
import { openVsockStream } from './vsock-stream.ts';

const MIB = 1024 * 1024;
const why = lacking();
if (why !== undefined) console.log(`skipped: tests with a Debian guest; lacking: ${why}`);

describe.skipIf(why !== undefined)('a Debian guest', () => {
  let lab: Lab;
  let vm: Booted;

  beforeAll(async () => {
    lab = await Lab.open();
    vm = await lab.boot('debian', {
      block: [
        { path: lab.image('disk.raw', 3 * 1024 * MIB), id: 'raw', queues: 2, workers: 2 },
        { path: makeQcow2(lab.path('disk.qcow2')), id: 'qcow2' },
      ],
    });
  }, 900_000);
  afterAll(() => lab?.[Symbol.asyncDispose](), 60_000);

  test('finds all of them, by our serial numbers', async () => {
    expect(await vm.sh('for d in /sys/block/vd?; do cat $d/serial; echo; done')).toBe('root\nraw\nqcow2');
    expect(await vm.sh('cat /sys/class/misc/hw_random/rng_current')).toMatch(/virtio_rng/);
    expect(await vm.sh('ls /dev/vsock')).toBe('/dev/vsock');
    expect(await vm.sh('lsblk -dno RO /dev/vda')).toBe('1');
  });

  test('draws entropy, and it is not the same twice', async () => {
    const draw = 'dd if=/dev/hwrng bs=64 count=4 iflag=fullblock status=none | base64 -w0';
    const [first, second] = [await vm.sh(draw), await vm.sh(draw)];
    expect(Buffer.from(first, 'base64')).toHaveLength(256);
    expect(second).not.toBe(first);
  });

  test.each(['raw', 'qcow2'])(
    'makes a file system on %s, and verifies what fio wrote',
    async (serial) => {
      await vm.sh(
        `d=$(grep -lx ${serial} /sys/block/vd?/serial | cut -d/ -f4); mkfs.ext4 -q /dev/$d && mkdir -p /mnt/${serial} && mount /dev/$d /mnt/${serial}`,
      );
      const fio = `fio --name=verify --directory=/mnt/${serial} --size=64m --bs=4k-64k --rw=randrw --direct=1 --ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --fsync=64 --output-format=terse`;
      const { output } = await vm.guest.run(fio, { timeoutMs: 240_000 });
      expect(output).not.toMatch(/verify:|error/i);
      expect(await vm.sh('dmesg | grep -ciE "I/O error|EXT4-fs error" || true')).toBe('0');
    },
    300_000,
  );

  test.each(['raw', 'qcow2'])(
    'keeps a file on %s the same as a copy in memory, through random operations',
    async (serial) => {
      const script = fsx(`/mnt/${serial}/fsx`, { seed: 1, operations: 1_200, size: 4 * MIB });
      expect(await vm.sh(script, 240_000)).toBe('same');
    },
    300_000,
  );

  test('keeps what was synced when the VM is killed at once, and its file system is clean', async () => {
    await vm.sh(
      'mkdir -p /mnt/raw/keep && dd if=/dev/urandom of=/mnt/raw/keep/big bs=1M count=1024 conv=fsync status=none',
      300_000,
    );
    const sum = await vm.sh('echo 3 > /proc/sys/vm/drop_caches; sha256sum < /mnt/raw/keep/big', 120_000);
    await vm.guest.start('while :; do dd if=/dev/urandom of=/mnt/raw/torn bs=64k count=64 status=none; done');
    await lab.vms.stop('debian', { force: true });
    // Replaying the journal may count as a correction (1); an inconsistency would be 4.
    expect(exitCode('e2fsck', ['-p', lab.path('disk.raw')])).toBeLessThanOrEqual(1);
    expect(exitCode('e2fsck', ['-fn', lab.path('disk.raw')])).toBe(0);
    execFileSync('qemu-img', ['check', '-q', lab.path('disk.qcow2')]);
    vm = await lab.boot('debian', { block: [{ path: lab.path('disk.raw'), id: 'raw' }] });
    expect(
      await vm.sh('mkdir -p /mnt/raw && mount -o ro /dev/vdb /mnt/raw && sha256sum < /mnt/raw/keep/big', 120_000),
    ).toBe(sum);
  }, 600_000);

  test('a call of the guest goes to who a plugin names, or to the socket in the folder of the VM', async () => {
    const serve = (path: string, text: string): Server => createServer((socket) => socket.end(text)).listen(path);
    const servers = [serve(lab.path('named'), 'the plugin'), serve(hostPortSocket(vm.directory, 7001), 'the folder')];
    using _ = lab.runtime.hooks.tap(vsockConnect, ({ port }) =>
      port === 7000 ? { path: lab.path('named') } : undefined,
    );
    const call = (port: number): Promise<string> =>
      vm.sh(`socat -u -t 5 VSOCK-CONNECT:2:${port} - 2>/dev/null || echo refused`);
    expect(await call(7000)).toBe('the plugin');
    expect(await call(7001)).toBe('the folder');
    expect(await call(7002)).toBe('refused');
    for (const server of servers) server.close();
  });

  test('1,000 connections of 1 MB each way carry what they were given', async () => {
    await vm.guest.start(echoServer(5000));
    const contents = randomBytes(MIB);
    await expect.poll(() => echo(vm.directory, contents).then(() => 'answers'), { timeout: 10_000 }).toBe('answers');
    await Promise.all(Array.from({ length: 1_000 }, () => echo(vm.directory, contents)));
  }, 600_000);
});

function exitCode(file: string, args: readonly string[]): number | null {
  return spawnSync(file, args, { stdio: 'ignore' }).status;
}

function makeQcow2(path: string): string {
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1G']);
  return path;
}

/** Sends all of it, ends, and compares what comes back with it. */
async function echo(directory: string, contents: Buffer): Promise<void> {
  const socket = await openVsockStream(vsockSocket(directory), 5000);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = once(socket, 'end');
  socket.end(contents);
  await ended;
  socket.destroy();
  const back = Buffer.concat(chunks);
  if (!back.equals(contents)) throw new Error(`${back.length} bytes came back, and they differ from what was sent`);
}
