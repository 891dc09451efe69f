// What `runtime doctor` looks at before anybody starts a VM. QEMU, KVM and the network are the vmm plugin's to check.

import { execFile } from 'node:child_process';
import { totalmem } from 'node:os';
import { promisify } from 'node:util';
import type { CheckRegistry, CheckResult } from '@runtime/sdk';
import { makeSocketFolder } from './concierge/places.ts';
import type { CrostiniConfig } from './config.ts';
import { checkNetwork } from './network/requirements.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
/** Of this computer, for everything beside one VM, MiB. */
const RESERVE_MIB = 1024;

export interface CheckedParts {
  /** Where the sockets of VMs lie. */
  readonly sockets: string;
  readonly verity: () => Promise<boolean>;
  readonly dbus: () => CheckResult;
}

export function addChecks(
  checks: CheckRegistry,
  config: CrostiniConfig,
  { sockets, verity, dbus }: CheckedParts,
): void {
  checks.add('termina-image', () => checkImage(config.profile));
  checks.add('termina-verity', () => checkVerity(config.verity, verity));
  checks.add('termina-memory', () => checkMemory(config));
  checks.add('termina-sockets', () => checkSockets(sockets));
  checks.add('termina-network', () => checkNetwork(config.network));
  checks.add('termina-dbus', dbus);
}

async function checkImage(profile: CrostiniConfig['profile']): Promise<CheckResult> {
  const { listImages } = await import('./image/termina-store.ts');
  const images = listImages();
  if (images.some((image) => image.profile === profile)) return { status: 'ok', found: `${images.length} there` };
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

function checkMemory({ mem, profile }: CrostiniConfig): CheckResult {
  const here = Math.floor(totalmem() / MIB);
  const found = `${here} MiB here, ${mem[profile]} MiB for a VM`;
  if (here >= mem[profile] + RESERVE_MIB) return { status: 'ok', found };
  return { status: 'warn', found, remedy: `Give VMs less: settings.crostini.config.mem.${profile}` };
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
