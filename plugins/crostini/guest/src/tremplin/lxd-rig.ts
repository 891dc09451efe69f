// An LXD of this machine in namespaces of its own, for tests: what it mounts and which networks it has is not seen outside.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LxdClient } from '../lxd/client.ts';

const PROGRAMS: Readonly<Record<string, string>> = {
  lxd: 'lxd',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  busybox: 'busybox-static',
  ip: 'iproute2',
  nft: 'nftables',
  dnsmasq: 'dnsmasq-base',
};

/** Why none can be had here; undefined when it can. */
export function lackingForLxd(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  const missing = Object.keys(PROGRAMS).filter((name) => !onPath(name));
  if (missing.length === 0) return undefined;
  return `${missing.join(', ')} (apt-get install ${[...new Set(missing.map((name) => PROGRAMS[name]))].join(' ')})`;
}

function onPath(name: string): boolean {
  return ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].some((folder) => existsSync(join(folder, name)));
}

/** In its own /sys LXD sees its own networks; the groups of processes are the machine's. */
const KEEPER = `set -e
mount --rbind /sys/fs/cgroup "$1"
mount -t sysfs sysfs /sys
mount --rbind "$1" /sys/fs/cgroup
ip link set lo up
echo
cat
`;

export interface LxdRig extends AsyncDisposable {
  /** LXD_DIR */
  readonly folder: string;
  /** What a command is prefixed with to be where LXD is to be. */
  readonly within: readonly string[];
  /** Rootfs and metadata of a system of busybox that answers SIGPWR by ending. */
  readonly image: { rootfs: string; readonly metadata: string };
  killLxd(): Promise<void>;
}

/** A shell holds the namespaces, in which LXD may be killed and started again. */
export async function lxdRig(): Promise<LxdRig> {
  const folder = mkdtempSync(join(tmpdir(), 'runtime-lxd-'));
  const cgroups = mkdtempSync(join(folder, 'cgroup-'));
  const keeper = spawn('unshare', ['-mn', '--propagation', 'private', 'sh', '-c', KEEPER, 'sh', cgroups], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => keeper.stdout.once('data', resolve));
  return {
    ...{ folder, image: makeImage(folder) },
    within: ['nsenter', '-m', '-n', '-t', String(keeper.pid), '--'],
    killLxd: async () => {
      const pids = lxdsOf(folder);
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      while (pids.some((pid) => existsSync(`/proc/${pid}/exe`))) await sleep(10);
    },
    async [Symbol.asyncDispose]() {
      await removeAll(new LxdClient(join(folder, 'unix.socket')));
      // Asked nicely it waits for others for minutes.
      for (const pid of lxdsOf(folder)) process.kill(pid, 'SIGKILL');
      keeper.stdin.end();
      await new Promise((resolve) => keeper.once('exit', resolve));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function removeAll(client: LxdClient): Promise<void> {
  for (const { name, status } of await client.instances().catch(() => [])) {
    if (status === 'Running') await client.changeState(name, 'stop', { force: true }).catch(() => {});
    await client.remove(name).catch(() => {});
  }
}

/** Daemons, not the monitors of containers, which have the same program and folder. */
function lxdsOf(folder: string): number[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .map(Number)
    .filter((pid) => {
      const [program, ...rest] = readProc(pid, 'cmdline');
      return program === 'lxd' && rest[0] === '--group' && readProc(pid, 'environ').includes(`LXD_DIR=${folder}`);
    });
}

function readProc(pid: number, file: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1').split('\0');
  } catch {
    return [];
  }
}

const INIT = `#!/bin/sh
trap 'exit 0' PWR TERM
hostname -F /etc/hostname
ip link set lo up
while :; do sleep 1 & wait $!; done
`;
const FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
  'etc/group': 'root:x:0:\n',
  'etc/hostname': 'penguin\n',
  'etc/os-release': 'PRETTY_NAME="Busybox of a test"\nNAME="Busybox"\nID=busybox\nVERSION_ID="1"\nVERSION="1 (test)"\n',
};
const APPLETS = [
  'sh',
  'ls',
  'cat',
  'echo',
  'id',
  'ip',
  'sleep',
  'hostname',
  'kill',
  'true',
  'false',
  'grep',
  'mkdir',
  'env',
];

function makeImage(folder: string): LxdRig['image'] {
  const root = join(folder, 'image-root');
  for (const each of ['bin', 'sbin', 'etc', 'dev', 'proc', 'sys', 'tmp', 'root', 'run', 'var/lib', 'home'])
    mkdirSync(join(root, each), { recursive: true });
  execFileSync('cp', ['/bin/busybox', join(root, 'bin/busybox')]);
  for (const applet of APPLETS) execFileSync('ln', ['-s', 'busybox', join(root, 'bin', applet)]);
  for (const [file, content] of Object.entries(FILES)) writeFileSync(join(root, file), content);
  writeFileSync(join(root, 'sbin/init'), INIT, { mode: 0o755 });
  const rootfs = join(folder, 'rootfs.tar.gz');
  execFileSync('tar', ['--owner=0', '--group=0', '-czf', rootfs, '-C', root, '.']);
  const metadata = join(folder, 'metadata.tar.gz');
  writeFileSync(
    join(folder, 'metadata.yaml'),
    'architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: busybox}\n',
  );
  execFileSync('tar', ['-czf', metadata, '-C', folder, 'metadata.yaml']);
  return { rootfs, metadata };
}
