// A Debian guest with network cards: through passt, and through a tap of this machine.

import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findProgram } from '../../plugins/vmm/src/machine/qemu/programs.ts';
import { aptSetup } from '../fixtures/guest/test-guest.ts';
import { type Booted, Lab, lacking } from './lab.ts';

const MIB = 1024 * 1024;
const MAC = '02:00:00:00:00:10';
/** Of a tap that the runtime makes for the first VM. */
const TAP = 'rt0';

function lackingHere(): string | undefined {
  const missing = ['passt', 'iperf3'].filter((tool) => findProgram(tool) === undefined);
  if (missing.length > 0) return `${missing.join(', ')} (apt-get install ${missing.join(' ')})`;
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return '/dev/net/tun';
  }
  return process.getuid?.() === 0 ? undefined : 'the right to make a tap';
}

const why = lacking() ?? lackingHere();
if (why !== undefined) console.log(`skipped: tests of the network with a Debian guest; lacking: ${why}`);

describe.skipIf(why !== undefined)('a Debian guest with a tap and passt', () => {
  let lab: Lab;
  let vm: Booted;
  let card = '';

  beforeAll(async () => {
    lab = await Lab.open();
    vm = await lab.boot('net', {
      net: [{ backend: 'passt' }, { backend: 'tap', mac: MAC, 'vq-pairs': 2 }],
    });
    card = await vm.sh(`grep -lx ${MAC} /sys/class/net/*/address | cut -d/ -f5`);
    await vm.sh(`ip link set ${card} up`);
  }, 900_000);
  afterAll(() => lab?.[Symbol.asyncDispose](), 60_000);

  /** Stops the server at the end. */
  async function serve(onConnection: Parameters<typeof createServer>[1]): Promise<{ server: Server; port: number }> {
    const server = createServer({ allowHalfOpen: true }, onConnection).listen(0, '::');
    await once(server, 'listening');
    return { server, port: (server.address() as { port: number }).port };
  }

  test('asks passt for an address, and gets one', async () => {
    const other = await vm.sh(`ls /sys/class/net | grep -v -e lo -e ${card}`);
    expect(await vm.sh(`ip -4 -o addr show dev ${other}`)).toMatch(/inet \d/);
  });

  /** The address of the router leads to the host's own loopback. */
  const router = () => vm.sh("ip -4 route show default | awk '{print $3}'");

  // One way at a time: passt of 2023 now and then repeats bytes when both ways are busy, also with QEMU's own card.
  test('sends to a server of the host through passt, byte by byte', async () => {
    const hash = createHash('sha256');
    const { server, port } = await serve((socket) => {
      socket.on('data', (chunk: Buffer) => hash.update(chunk)).on('end', () => socket.end());
    });
    const sum = await vm.sh('head -c 20000000 /dev/urandom > /tmp/sent; sha256sum < /tmp/sent');
    await vm.sh(`socat -t 30 - TCP4:${await router()}:${port} < /tmp/sent`, 120_000);
    expect(sum).toContain(hash.digest('hex'));
    server.close();
  }, 180_000);

  test('receives from a server of the host through passt, byte by byte', async () => {
    const sent = randomBytes(20 * MIB);
    const { server, port } = await serve((socket) => socket.end(sent));
    const sum = await vm.sh(`socat -u TCP4:${await router()}:${port} - | sha256sum`, 120_000);
    expect(sum).toContain(createHash('sha256').update(sent).digest('hex'));
    server.close();
  }, 180_000);

  test('talks to the host through the tap', async () => {
    await vm.sh(
      `for i in $(seq 50); do ip -6 -o addr show dev ${card} scope link | grep -qv tentative && break; sleep 0.2; done`,
    );
    const address = await vm.sh(`ip -6 -o addr show dev ${card} scope link | awk '{print $4}' | cut -d/ -f1`);
    await vm.guest.start('exec socat TCP6-LISTEN:5001,fork,reuseaddr EXEC:cat');
    const socket = await reach(`${address}%${TAP}`, 5001);
    const sent = randomBytes(32 * MIB);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    const ended = once(socket, 'end');
    socket.end(sent);
    await ended;
    expect(Buffer.concat(chunks).equals(sent)).toBe(true);
  }, 180_000);

  test.each([
    ['to', ''],
    ['from', '-R'],
  ])(
    'iperf3 moves data %s the host through the tap',
    async (_way, flag) => {
      const [, host = ''] =
        /inet6 (fe80\S+)\//.exec(execFileSync('ip', ['-6', '-o', 'addr', 'show', 'dev', TAP]).toString()) ?? [];
      const server = spawn('iperf3', ['-s', '-1', '-p', '5201'], { stdio: 'ignore' });
      const ended = once(server, 'exit');
      const report = await vm.sh(`sleep 0.5; iperf3 -6 -c ${host}%${card} -t 3 -J ${flag}`, 60_000);
      const { end } = JSON.parse(report) as { end: { sum_received: { bytes: number; bits_per_second: number } } };
      expect(end.sum_received.bytes).toBeGreaterThan(10 * MIB);
      console.log(`iperf3 ${_way} the host: ${Math.round(end.sum_received.bits_per_second / 8e6)} MB/s`);
      await ended;
    },
    90_000,
  );

  test('installs a package of Debian through passt', async () => {
    await vm.sh(aptSetup(), 180_000);
    await vm.sh('apt-get install -q -y --no-install-recommends hello && hello', 120_000);
  }, 320_000);

  test('leaves checksums and segments to the host, and takes those of the host', async () => {
    const { net1: stats = {} } = await lab.vms.stats('net');
    expect(stats.txFrames).toBeGreaterThan(100);
    // Much longer on average than a frame of the wire.
    expect((stats.rxBytes ?? 0) / (stats.rxFrames ?? 1)).toBeGreaterThan(3_000);
    expect(stats).toMatchObject({ txMalformed: 0, rxMalformed: 0, txDropped: 0 });
  });

  // QEMU keeps the configuration space of a network card to itself, so its guest does not see it.
  test('passes nothing while its link is down', async () => {
    expect(await lab.vms.requestDevice('net', 'net1', 'link', { up: false })).toEqual({ up: false });
    const { net1: before } = await lab.vms.stats('net');
    await vm.sh(`ping -c 1 -W 1 ff02::1%${card} || true`);
    const { net1: after } = await lab.vms.stats('net');
    expect(after?.txFrames).toBe(before?.txFrames);
    await lab.vms.requestDevice('net', 'net1', 'link', { up: true });
    await vm.sh(`ping -c 3 -W 2 ff02::1%${card}`);
  }, 60_000);

  test('goes on when its code is replaced, or its process killed', async () => {
    const sent = randomBytes(MIB);
    const { server, port } = await serve((socket) => socket.on('error', () => {}).end(sent));
    const sum = createHash('sha256').update(sent).digest('hex');
    const fetch = `for i in $(seq 60); do socat -u TCP4:${await router()}:${port},connect-timeout=2 - | sha256sum | grep -q ${sum} && exit 0; sleep 0.5; done; exit 1`;
    await lab.vms.reloadDevice('net', 'net0');
    await vm.sh(fetch, 180_000);
    const before = await vm.pid('net0');
    await lab.vms.restartDevice('net', 'net0');
    expect(await vm.pid('net0')).not.toBe(before);
    await vm.sh(fetch, 180_000);
    server.close();
  }, 400_000);
});

/** The neighbour may have to be found first. */
async function reach(host: string, port: number) {
  for (let tries = 1; ; tries++) {
    const socket = connect({ host, port });
    try {
      await once(socket, 'connect');
      return socket;
    } catch (e) {
      socket.destroy();
      if (tries === 20) throw e;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}
