// Runs in namespaces of its own: runtimes that give networks to guests, and what can be reached from where.

import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { definePlugin } from '@runtime/sdk';
import { interfaceMac, openTap, setInterfaceUp } from '@runtime/sdk/linux';
import { createTestRuntime } from '@runtime/sdk/testing';
import { runtimeId, tableName } from '../names.ts';
import type { NetworkLink } from '../networks.ts';
import { checkNetwork } from '../requirements.ts';
import { MAX_CONNECTIONS } from '../ruleset.ts';
import { TapNetworks } from '../tap-networks.ts';
import { Namespace } from './answers.ts';
import { makeWorld, WORLD } from './world.ts';

const folder = mkdtempSync(join(tmpdir(), 'taps-'));
const claims = join(folder, 'claims');

interface Host extends AsyncDisposable {
  readonly networks: TapNetworks;
  readonly runtime: string;
}

async function startHost(name: string): Promise<Host> {
  const stateDirectory = join(folder, name);
  const made = Promise.withResolvers<TapNetworks>();
  const runtime = runtimeId(stateDirectory);
  const plugin = definePlugin({
    name: 'taps',
    version: '1.0.0',
    async setup(ctx) {
      made.resolve(new TapNetworks({ runtime, persistent: true, claims, ...ctx }));
      return {};
    },
  });
  const started = await createTestRuntime({ plugins: [plugin], stateDirectory });
  return { networks: await made.promise, runtime, [Symbol.asyncDispose]: () => started[Symbol.asyncDispose]() };
}

/** As the vmm plugin makes it; it is gone with the descriptor, which the guest has, too. */
async function boot({ network: { tap = '', address, gateway } }: NetworkLink): Promise<Namespace> {
  const { fd } = openTap({ name: tap });
  setInterfaceUp(tap, true);
  const mac = Buffer.from(interfaceMac(tap)).toString('hex');
  const guest = new Namespace(join(import.meta.dirname, 'guest.ts'), [address, gateway, mac], fd);
  await guest.ask('ready');
  closeSync(fd);
  return guest;
}

const tables = (): string[] =>
  execFileSync('nft', ['list', 'tables'])
    .toString()
    .trim()
    .split('\n')
    .filter((line) => line !== '');
const isForwarding = (): boolean => readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim() === '1';
const forwardsAt = (name: string): string => readFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`, 'utf8').trim();
const taps = (): string[] => readdirSync('/proc/sys/net/ipv4/conf').filter((name) => name.startsWith('rtap'));
const nft = (text: string): unknown => execFileSync('nft', ['-f', '-'], { input: text });

const report: Record<string, unknown> = {};
const world = await makeWorld();
const listener = createServer((socket) => socket.end()).listen(8080, '0.0.0.0');
await once(listener, 'listening');

// Two VMs of one runtime.
let first = await startHost('first');
const one = await first.networks.open({ key: 'me/one', machine: 't-one' });
const two = await first.networks.open({ key: 'me/two', machine: 't-two' });
report.subnets = [one.network, two.network];
const guest = await boot(one);
const other = await boot(two);
await one.attach();
await two.attach();

report.names = [await guest.ask('resolve', WORLD.name), await guest.ask('resolve', 'nowhere.test')];
report.web = await guest.ask('fetch', WORLD.address);
report.gateway = {
  ping: await guest.ask('ping', one.network.gateway),
  port: await guest.ask('reach', one.network.gateway, '8080'),
  others: await guest.ask('ask', two.network.gateway),
  uplink: await guest.ask('reach', WORLD.host, '8080'),
};
report.otherGuest = [await guest.ask('reach', two.network.address, '80'), await guest.ask('ping', two.network.address)];
// The kernel would see through them, too: the rules are to do it alone.
for (const name of ['all', one.network.tap]) writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, '0');
await guest.ask('pretend', '198.51.100.7', WORLD.address, String(WORLD.notes));
await guest.ask('pretend', two.network.address, WORLD.address, String(WORLD.notes));
const pretended = await world.ask('heard');
await guest.ask('pretend', one.network.address, WORLD.address, String(WORLD.notes));
report.heard = [pretended, await world.ask('heard')];
report.t0 = performance.now();
report.fromOutside = [
  await world.ask('reach', one.network.address, '22'),
  await world.ask('ask', one.network.gateway),
  await world.ask('reach', WORLD.host, '8080'),
];

// The runtime ends, and the next one finds one of the two.
await first[Symbol.asyncDispose]();
report.self = [performance.now(), readFileSync('/proc/sys/net/netfilter/nf_conntrack_count', 'utf8'), isForwarding()];
report.withoutRuntime = await guest.ask('resolve', WORLD.name);
first = await startHost('first');
const found = await first.networks.adopt({ key: 'me/one', machine: 't-one', backend: 'tap', subnet: one.subnet });
await found.attach();
report.bothWhileFound = await other.ask('resolve', WORLD.name);
// The count begins anew with the next rules.
await guest.ask('flood', WORLD.address, String(MAX_CONNECTIONS + 2_000));
report.tracked = Number(readFileSync('/proc/sys/net/netfilter/nf_conntrack_count', 'utf8'));
report.otherWhileFlooded = await other.ask('resolve', WORLD.name);
other[Symbol.dispose]();
await first.networks.settle();
report.afterFound = [await guest.ask('resolve', WORLD.name), await guest.ask('fetch', WORLD.address)];

// Another runtime beside it.
const second = await startHost('second');
const three = await second.networks.open({ key: 'you/three', machine: 't-three' });
report.beside = [three.network.address, tables().length];
await found[Symbol.asyncDispose]();
guest[Symbol.dispose]();
report.oneIsGone = [tables().length, isForwarding()];

// One that was killed before: its process is no more.
const dead = runtimeId('/dead');
const [namespace = ''] = readdirSync(claims);
const claim = { version: 1, pid: 999_999_999, start: '1', subnets: [one.subnet + 8] };
writeFileSync(join(claims, namespace, dead), JSON.stringify(claim));
nft(`table inet ${tableName(dead)} {}`);
const four = await second.networks.open({ key: 'you/four', machine: 't-four' });
report.dead = [tables().some((line) => line.includes(dead)), existsSync(join(claims, namespace, dead))];
await four[Symbol.asyncDispose]();
await three[Symbol.asyncDispose]();
report.left = { tables: tables(), forwarding: isForwarding(), claims: existsSync(claims), taps: taps() };

// Somebody else drops what is forwarded.
nft(
  'table ip filter { chain DOCKER-USER { } ; chain FORWARD { type filter hook forward priority filter; policy drop; } ; }',
);
report.doctor = [await checkNetwork('tap'), await checkNetwork('auto')];
report.blocked = await second.networks.open({ key: 'you/five', machine: 't-five' }).catch((e) => [e.code, e.remedy]);
nft('add rule ip filter DOCKER-USER iifname "rtap*" accept');
execFileSync('sysctl', ['-q', 'net.ipv4.conf.uplink.forwarding=1']);
(report.doctor as unknown[]).push(await checkNetwork('tap'));
const five = await second.networks.open({ key: 'you/five', machine: 't-five' });
await five[Symbol.asyncDispose]();
report.restored = [isForwarding(), forwardsAt('uplink'), forwardsAt('lo')];

// Somebody else is a name server, at all addresses.
const names = createSocket('udp4').bind(53, '0.0.0.0');
await once(names, 'listening');
const six = await second.networks.open({ key: 'you/six', machine: 't-six' });
const sixth = await boot(six);
report.busy = await six.attach().catch((e) => [e.code, e.message]);
sixth[Symbol.dispose]();
await six[Symbol.asyncDispose]();
report.leftOfBusy = [tables().length, isForwarding(), existsSync(claims)];

await first[Symbol.asyncDispose]();
await second[Symbol.asyncDispose]();
report.servers = execFileSync('ps', ['-eo', 'args'])
  .toString()
  .split('\n')
  .filter((line) => /^\S*dnsmasq .*100\.115/.test(line));
process.stdout.write(JSON.stringify(report));
world[Symbol.dispose]();
listener.close();
rmSync(folder, { recursive: true, force: true });
process.exit();
