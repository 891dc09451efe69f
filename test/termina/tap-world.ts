// Runs in namespaces of networks and mounts of its own: two VMs with a tap each, and the rest of the world beside them.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLAIMS_FOLDER } from '../../plugins/crostini/src/network/claims.ts';
import { makeWorld, WORLD } from '../../plugins/crostini/src/network/test-programs/world.ts';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';
import { processesWith, Subject } from '../soak/subject.ts';

const LISTENER = 8080;
/** While its network is made, and while its guest boots. */
const KILLED_AFTER_MS = [150, 1_000];
const STOP_KILLED_AFTER_MS = 300;
const FETCH = (host: string, port: number): string =>
  `timeout 5 bash -c 'exec 3<>/dev/tcp/${host}/${port} && printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3 && tail -n 1 <&3' 2>&1 || true`;

// Nothing of the machine itself is written to.
execFileSync('mount', ['-t', 'tmpfs', 'none', '/run']);
const report: Record<string, unknown> = {};
using world = await makeWorld();
const listener = createServer((socket) => socket.end('secret')).listen(LISTENER, '0.0.0.0');
await once(listener, 'listening');
await using subject = new Subject();
mkdirSync(join(subject.folder, 'config/runtime'), { recursive: true });
const config = 'settings: { crostini: { config: { network: tap, dbus: "off" } } }\n';
writeFileSync(join(subject.folder, 'config/runtime/config.yaml'), config);

const taps = (): number => readdirSync('/proc/sys/net/ipv4/conf').filter((name) => name.startsWith('rtap')).length;
const tables = (): number => execFileSync('nft', ['list', 'tables']).toString().split('\n').length - 1;
const servers = (): number => processesWith(subject.mark).filter(({ command }) => command.includes('dnsmasq')).length;
const state = () => ({
  ...{ taps: taps(), tables: tables(), servers: servers(), claims: existsSync(CLAIMS_FOLDER) },
  forwarding: readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim(),
});

try {
  await subject.start();
  for (const name of ['one', 'two']) await subject.command('start', [name], { profile: 'fast' });
  const inGuest = (script: string): Promise<string> => subject.inGuest('one', script);
  report.running = state();
  report.network = await inGuest('ip -4 -brief address show eth0; ip route show default; cat /etc/resolv.conf');
  report.web = await inGuest(FETCH(WORLD.name, WORLD.web));
  report.otherGuest = await inGuest(FETCH('100.115.92.30', 22));
  report.host = [
    await inGuest(FETCH('100.115.92.25', LISTENER)),
    await inGuest(FETCH(WORLD.host, LISTENER)),
    await inGuest(FETCH('100.115.92.29', LISTENER)),
  ];

  const note = `bash -c 'echo note > /dev/udp/${WORLD.address}/${WORLD.notes}'`;
  const pretend = (source: string): string =>
    `ip address add ${source}/32 dev eth0; ip route replace default via 100.115.92.25 src ${source}; ${note}`;
  await inGuest(pretend('198.51.100.7'));
  await inGuest(pretend('100.115.92.30'));
  const pretended = await world.ask('heard');
  await inGuest(`ip route replace default via 100.115.92.25 src 100.115.92.26; ${note}`);
  report.heard = [pretended, await world.ask('heard')];

  const socketOfOne = findSocket();
  await subject.kill();
  report.withoutRuntime = [await speak(socketOfOne, FETCH(WORLD.name, WORLD.web)), state()];
  await subject.start();
  report.found = [await inGuest(FETCH(WORLD.name, WORLD.web)), state()];

  await subject.command('stop', ['two']);
  report.oneLeft = [await inGuest(FETCH(WORLD.name, WORLD.web)), state()];
  await subject.command('stop', ['one']);
  report.stopped = state();

  // What was there of a VM that ended while there was no runtime.
  await subject.command('start', ['one'], { profile: 'fast' });
  await subject.kill();
  for (const { pid, command } of processesWith(subject.mark)) {
    if (!command.includes('dnsmasq')) process.kill(pid, 'SIGKILL');
  }
  report.allKilled = { ...state(), taps: 0 };
  await subject.start();
  report.swept = [await subject.vms(), state()];

  // The runtime is killed in the middle of a start, and of a stop.
  const left: unknown[] = [];
  for (const ms of KILLED_AFTER_MS) {
    const starting = subject.command('start', ['one'], { profile: 'fast' }).catch(() => {});
    await sleep(ms);
    await subject.kill();
    await starting;
    await subject.start();
    const all = await subject.vms();
    // It may just have been ready.
    if (all.length > 0) await subject.command('stop', ['one']);
    left.push(state());
  }
  await subject.command('start', ['one'], { profile: 'fast' });
  const stopping = subject.command('stop', ['one']).catch(() => {});
  await sleep(STOP_KILLED_AFTER_MS);
  await subject.kill();
  await stopping;
  await subject.start();
  await subject.command('stop', ['one']);
  left.push(state());
  report.killed = left;
  await subject.stop();
} catch (e) {
  report.failure = String(e);
  report.log = subject.log.slice(-4_000);
}
await new Promise((resolve) => process.stdout.write(JSON.stringify(report), resolve));
listener.close();

function findSocket(): string {
  const name = readdirSync(subject.folder, { recursive: true })
    .map(String)
    .find((path) => path.includes('t-one') && path.endsWith('vsock.sock.g9001'));
  return join(subject.folder, name ?? '');
}

async function speak(socketPath: string, command: string): Promise<string> {
  using session = await openVsh({ socketPath, user: 'root', command });
  session.stdin.end();
  const [out] = await Promise.all([text(session.stdout), text(session.stderr), session.exit]);
  return out.trim();
}
