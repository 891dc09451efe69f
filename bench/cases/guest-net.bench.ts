// What a network card does for a Debian guest: ours beside QEMU's own virtio-net, each with a passt and a tap of its own.
// iperf3 moves data for a second between one guest and this computer, then the other; none of it leaves the computer.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { setInterfaceUp } from '@runtime/sdk/linux';
import { z } from 'zod';
import { passtArguments } from '../../plugins/vmm/src/devices/net/passt.ts';
import { findProgram } from '../../plugins/vmm/src/machine/qemu/programs.ts';
import { type Benchmark, type Rate, Timed } from '../benchmark.ts';
import { type Scripts, TwoGuests } from '../guests.ts';

const SECONDS = 1;
const NS_PER_S = 1e9;
const BITS = 8;
const START_MS = 10_000;
/** In each guest: the card at passt, which comes up by DHCP, and the one at a tap. */
const [PASST_MAC, TAP_MAC] = ['02:00:00:00:00:11', '02:00:00:00:00:12'];
/** Interfaces of this computer. */
const OUR_TAP = 'rtbench0';
const PEER_TAP = 'rtbench1';

type BackEnd = 'passt' | 'tap';
type Way = 'from' | 'to';

const report = z.object({ end: z.object({ sum_received: z.object({ bits_per_second: z.number() }) }) });

class Networks implements AsyncDisposable {
  readonly ours: Scripts;
  readonly peer: Scripts;
  readonly #port: number;
  readonly #parts: AsyncDisposableStack;

  static async open(): Promise<Networks> {
    const missing = ['passt', 'iperf3', 'ip'].filter((program) => findProgram(program) === undefined);
    if (missing.length > 0) throw new Error(`this benchmark needs ${missing.join(', ')} (apt-get install)`);
    await using parts = new AsyncDisposableStack();
    const port = await freePort();
    keep(parts, spawn('iperf3', ['--server', '--port', String(port)], { stdio: 'ignore' }));
    const guests = await TwoGuests.boot({
      ours: () => ({
        net: [
          { backend: 'passt', mac: PASST_MAC },
          { backend: 'tap', mac: TAP_MAC, 'tap-name': OUR_TAP },
        ],
      }),
      peer: async (lab) => {
        // Not in the folder: passt that was started by root makes it as the user nobody.
        const socket = `${lab.folder}.passt`;
        parts.defer(() => rmSync(socket, { force: true }));
        await startPasst(parts, socket);
        return [
          ...['-netdev', `stream,id=passt,server=off,addr.type=unix,addr.path=${socket}`],
          ...['-device', `virtio-net-pci,netdev=passt,mac=${PASST_MAC},disable-legacy=on`],
          ...['-netdev', `tap,id=tap,ifname=${PEER_TAP},script=no,downscript=no`],
          ...['-device', `virtio-net-pci,netdev=tap,mac=${TAP_MAC},disable-legacy=on`],
        ];
      },
    });
    parts.use(guests);
    setInterfaceUp(PEER_TAP, true);
    return new Networks(guests, port, parts.move());
  }

  private constructor({ ours, peer }: TwoGuests, port: number, parts: AsyncDisposableStack) {
    this.ours = ours;
    this.peer = peer;
    this.#port = port;
    this.#parts = parts;
  }

  /** Bytes in a second. */
  async measure(guest: Scripts, host: string, way: Way): Promise<number> {
    const direction = way === 'to' ? '--reverse' : '';
    const output = await guest.sh(
      `iperf3 --client ${host} --port ${this.#port} --time ${SECONDS} --omit 0 --json ${direction}`,
    );
    return report.parse(JSON.parse(output)).end.sum_received.bits_per_second / BITS;
  }

  /** What the guest calls this computer. */
  async host(guest: Scripts, backEnd: BackEnd): Promise<string> {
    // For passt, the router's address is this computer's own loopback.
    if (backEnd === 'passt') return guest.sh("ip -4 route show default | awk '{print $3}'");
    const tap = guest === this.ours ? OUR_TAP : PEER_TAP;
    const card = await guest.sh(`grep -lx ${TAP_MAC} /sys/class/net/*/address | cut -d / -f 5`);
    await guest.sh(`ip link set ${card} up`);
    await guest.sh(
      `for i in $(seq 50); do ip -6 -o addr show dev ${card} scope link | grep -qv tentative && exit; sleep 0.2; done; exit 1`,
    );
    const addresses = execFileSync('ip', ['-6', '-o', 'addr', 'show', 'dev', tap, 'scope', 'link']).toString();
    const address = /inet6 (fe80\S+)\//.exec(addresses)?.[1];
    if (address === undefined) throw new Error(`${tap} has no address:\n${addresses}`);
    return `${address}%${card}`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

async function startPasst(parts: AsyncDisposableStack, socket: string): Promise<void> {
  // The same as ours, but that it listens.
  const [program, ...options] = passtArguments('passt', { mtu: 0, tcp: [], udp: [] });
  const listening = [...options.slice(0, options.indexOf('--fd')), '--socket', socket];
  keep(parts, spawn(program, listening, { stdio: 'ignore' }));
  const until = performance.now() + START_MS;
  while (!existsSync(socket)) {
    if (performance.now() > until) throw new Error('passt does not listen');
    await sleep(10);
  }
}

function keep(parts: AsyncDisposableStack, child: ChildProcess): void {
  parts.defer(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '::');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, 'close');
  return port;
}

const rate: Rate = { unit: 'B/s', perIteration: 1 };

function guestNet(backEnd: BackEnd, way: Way): Benchmark {
  return {
    name: `guest-net/${backEnd}-${way}-guest`,
    title: `network of a guest through ${backEnd}: data ${way} the guest`,
    peer: 'virtio-net of QEMU',
    target: { kind: 'none' },
    rate,
    plan: { iterations: 1, rounds: 5, warmUp: 1 },
    async prepare() {
      const networks = await Networks.open();
      const side = async (guest: Scripts) => {
        const host = await networks.host(guest, backEnd);
        return async (iterations: number) =>
          new Timed((iterations * NS_PER_S) / (await networks.measure(guest, host, way)));
      };
      return {
        ours: await side(networks.ours),
        peer: await side(networks.peer),
        end: () => networks[Symbol.asyncDispose](),
      };
    },
  };
}

const benchmarks: readonly Benchmark[] = [
  guestNet('passt', 'from'),
  guestNet('passt', 'to'),
  guestNet('tap', 'from'),
  guestNet('tap', 'to'),
];

export default benchmarks;
