// What containers find in LXD: where they are stored, and what each has without asking.

import { existsSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { LxdClient } from '../lxd/client.ts';
import { isLxdError } from '../lxd/http.ts';

export const POOL = 'default';
export const BRIDGE = 'lxdbr0';
/** linux/magic.h */
const BTRFS_SUPER_MAGIC = 0x9123683e;

export interface LxdFolders {
  /** LXD_DIR */
  readonly lxd: string;
  /** Of the host, shared with the VM. */
  readonly shared: string;
  /** Programs for containers. */
  readonly tools: string;
  /** Disks that were plugged in. */
  readonly external: string;
}

/** Devices of the VM that containers may use, where there are any. */
const UNIX_CHARS: readonly string[] = ['/dev/fuse', '/dev/net/tun', '/dev/kvm', '/dev/wl0', '/dev/dri/renderD128'];

/** Does nothing that is done already, so that it can be done at each start. @throws LxdError */
export async function setUpLxd(client: LxdClient, folders: LxdFolders): Promise<void> {
  await ensurePool(client, folders.lxd);
  const body = { config: { 'boot.autostart': 'false', 'security.nesting': 'true' }, devices: profileDevices(folders) };
  await client.call('PUT', '/1.0/profiles/default', { body });
}

async function ensurePool(client: LxdClient, lxd: string): Promise<void> {
  try {
    await client.call('GET', `/1.0/storage-pools/${POOL}`);
  } catch (e) {
    if (!isLxdError(e, 404)) throw e;
    // Without a source LXD would make a file of its own for btrfs, and mount it.
    const source = join(lxd, 'storage-pools', POOL);
    const isBtrfs = statfsSync(lxd).type === BTRFS_SUPER_MAGIC;
    const body = { name: POOL, driver: isBtrfs ? 'btrfs' : 'dir', config: isBtrfs ? { source } : {} };
    await client.call('POST', '/1.0/storage-pools', { body });
  }
}

type Devices = Record<string, Record<string, string>>;

function profileDevices({ shared, tools, external }: LxdFolders): Devices {
  const devices: Devices = {
    root: { type: 'disk', path: '/', pool: POOL },
    // Not one of LXD's own networks: those take it four seconds of its start under an emulated CPU.
    eth0: { type: 'nic', nictype: 'bridged', parent: BRIDGE, name: 'eth0' },
  };
  if (existsSync(tools)) devices.tools = disk(tools, '/opt/google/cros-containers', { readonly: 'true' });
  if (existsSync(shared)) devices.shared = disk(shared, '/mnt/chromeos', { propagation: 'rslave', recursive: 'true' });
  if (existsSync(external))
    devices.external = disk(external, '/mnt/external', { propagation: 'rslave', recursive: 'true' });
  for (const path of UNIX_CHARS) {
    if (existsSync(path)) devices[path.slice(1).replaceAll('/', '-')] = { type: 'unix-char', path, mode: '0666' };
  }
  return devices;
}

function disk(source: string, path: string, options: Record<string, string>): Record<string, string> {
  return { type: 'disk', source, path, required: 'false', ...options };
}
