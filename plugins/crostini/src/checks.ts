// What `runtime doctor` looks at before anybody starts a VM. QEMU, KVM and the network are the vmm plugin's to check.

import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { CheckRegistry, CheckResult } from '@runtime/sdk';
import { makeSocketFolder } from './concierge/places.ts';
import type { CrostiniConfig } from './config.ts';
import { checkNetwork } from './network/requirements.ts';
import { lackOfSystemd, scopesBus } from './systemd/scopes.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
/** Of this computer, for everything beside one VM, MiB. */
const RESERVE_MIB = 1024;

export interface CheckedParts {
  /** Where the sockets of VMs lie. */
  readonly sockets: string;
  readonly verity: () => Promise<boolean>;
  readonly dbus: () => CheckResult | Promise<CheckResult>;
  /** Where the disks of VMs lie. */
  readonly disks: string;
}

export function addChecks(
  checks: CheckRegistry,
  config: CrostiniConfig,
  { sockets, verity, dbus, disks }: CheckedParts,
): void {
  checks.add('termina-image', () => checkImage(config.profile));
  checks.add('termina-verity', () => checkVerity(config.verity, verity));
  checks.add('termina-memory', () => checkMemory(config));
  checks.add('termina-space', async () => {
    const { imageCache } = await import('@runtime/sdk/image');
    return checkSpace({ disks, images: imageCache() }, config);
  });
  checks.add('termina-sockets', () => checkSockets(sockets));
  checks.add('termina-network', () => checkNetwork(config.network));
  checks.add('termina-dbus', dbus);
  checks.add('termina-scopes', () => checkScopes(config.scopes));
}

async function checkImage(profile: CrostiniConfig['profile']): Promise<CheckResult> {
  const { chosenImage, listImages } = await import('./image/termina-store.ts');
  const [newest, ...older] = listImages().filter((image) => image.profile === profile);
  if (newest !== undefined) {
    const more = older.length === 0 ? '' : `, and ${older.length} more of profile ${profile}`;
    const used = chosenImage(profile) ?? newest;
    return {
      status: 'ok',
      found: `${used.id.slice(0, 12)} of ${new Date(used.madeAt).toISOString().slice(0, 10)}${more}`,
    };
  }
  try {
    await run('mkfs.erofs', ['--help']);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') {
      return { status: 'fail', found: 'none, and no mkfs.erofs to make one', remedy: 'apt-get install erofs-utils' };
    }
  }
  return {
    status: 'warn',
    found: `none of profile ${profile}: the first start makes it, which takes minutes and needs a Debian mirror`,
    remedy: `Make it now: runtime termina build --profile ${profile}`,
  };
}

/** Whoever lets it be decided is not at fault when it is decided. */
async function checkVerity(wish: CrostiniConfig['verity'], verity: () => Promise<boolean>): Promise<CheckResult> {
  if (await verity()) return { status: 'ok', found: 'guests compare each block of their image with its hash' };
  const why =
    wish === 'auto' ? 'without KVM it takes seconds of each start' : 'so says settings.crostini.config.verity';
  return { status: 'ok', found: `guests do not check their image: ${why}; runtime termina verify does` };
}

/** Of /proc/meminfo, proc(5). */
export function checkMemory(
  { mem, profile }: Pick<CrostiniConfig, 'mem' | 'profile'>,
  { totalMib, availableMib }: { totalMib: number; availableMib: number } = memoryHere(),
): CheckResult {
  const needed = mem[profile];
  const found = `${availableMib} MiB free of ${totalMib}, ${needed} MiB for a VM`;
  if (totalMib < needed + RESERVE_MIB)
    return { status: 'warn', found, remedy: `Give VMs less: settings.crostini.config.mem.${profile}` };
  if (availableMib < needed)
    return {
      status: 'warn',
      found,
      remedy: 'End what takes memory, VMs among it: runtime list; or give VMs less: --mem',
    };
  return { status: 'ok', found };
}

function memoryHere(): { totalMib: number; availableMib: number } {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const mib = (key: string): number =>
    Math.floor(Number(new RegExp(`^${key}: *(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) / 1024);
  return { totalMib: mib('MemTotal'), availableMib: mib('MemAvailable') };
}

/** Of a disk without its data, and of what is beside it. */
const DISK_ROOM_MIB = 1024;
/** Of an image while it is made. */
const IMAGE_ROOM_MIB = 3072;

export function checkSpace(
  { disks, images }: { readonly disks: string; readonly images: string },
  { diskGib }: Pick<CrostiniConfig, 'diskGib'>,
): CheckResult {
  const places = [
    { what: 'disks of VMs', folder: disks, leastMib: DISK_ROOM_MIB, remedy: `df -h ${disks}; runtime disk list` },
    {
      what: 'images',
      folder: images,
      leastMib: IMAGE_ROOM_MIB,
      remedy: 'runtime termina list; runtime termina remove',
    },
  ].map((place) => ({ ...place, free: freeMib(place.folder) }));
  const found = places.map(({ what, free }) => `${gib(free)} for ${what}`).join(', ');
  const short = places.filter(({ free, leastMib }) => free < leastMib);
  if (short.length > 0)
    return { status: 'warn', found, remedy: `Make room: ${short.map((one) => one.remedy).join('; ')}` };
  const [{ free }] = places as [{ free: number }, ...unknown[]];
  // They are sparse: only what guests write takes room.
  const isLess = free < diskGib * 1024;
  return { status: 'ok', found: isLess ? `${found}; a disk of ${diskGib} GiB will not get full` : found };
}

const gib = (mib: number): string => `${(mib / 1024).toFixed(1)} GiB`;

/** Where the folder lies, or would. */
function freeMib(folder: string): number {
  let at = folder;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  const { bavail, bsize } = statfsSync(at);
  return Math.floor((bavail * bsize) / MIB);
}

async function checkScopes(mode: CrostiniConfig['scopes']): Promise<CheckResult> {
  const bus = scopesBus(mode);
  if (bus === undefined) {
    const why = mode === 'off' ? 'switched off (crostini.scopes)' : 'this computer was not booted with systemd';
    return { status: 'ok', found: `none: ${why}` };
  }
  const why = await lackOfSystemd(bus);
  if (why === undefined) return { status: 'ok', found: `systemd of the ${bus} gives each VM its own` };
  return {
    status: 'warn',
    found: `none: ${why}`,
    remedy: 'VMs run all the same. Log in through pam_systemd, or switch this off: crostini.scopes off',
  };
}

function checkSockets(folder: string): CheckResult {
  try {
    makeSocketFolder(folder);
    return { status: 'ok', found: folder };
  } catch (e) {
    const found = e instanceof Error ? e.message : String(e);
    return { status: 'fail', found, remedy: 'Set XDG_RUNTIME_DIR to a short path of a folder of your own, mode 0700.' };
  }
}
