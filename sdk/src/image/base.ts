// What every guest begins with: Debian's kernel, busybox, and socat, which speaks vsock. Which versions is looked up
// once and pinned; as long as the pin is young, neither the network nor apt is asked.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureMade, hashOf, imageCache, type OnProgress, writeWhole } from './cache.ts';
import { extractDeb } from './deb.ts';
import { ensureKernel, type GuestKernel, type KernelFlavour, resolveKernel } from './kernel.ts';
import { collectModules, type Module, withoutSignature } from './modules.ts';
import { Archive, type DebianPackage, debianArchitecture, GUEST_SUITE } from './packages.ts';

export interface BaseOptions {
  readonly flavour?: KernelFlavour;
  /** Beside {@link PACKAGES}. */
  readonly packages?: readonly string[];
  readonly onProgress?: OnProgress;
  /** Look for newer packages now; without a network that is an error. */
  readonly refresh?: boolean;
}

export interface GuestBase {
  readonly kernel: GuestKernel;
  /** The other packages, unpacked over each other. */
  readonly tree: string;
  /** Stands for all of it: the same id, the same bytes. */
  readonly id: string;
}

interface Pin {
  readonly resolvedAt: number;
  readonly kernel: DebianPackage;
  readonly packages: readonly DebianPackage[];
}

const PACKAGES: readonly string[] = ['busybox-static', 'socat'];
/** Packages are looked up again after this long, in ms. */
const PIN_FRESH_MS = 14 * 24 * 3_600_000;
/** A change of what is pinned. */
const RECIPE = 1;

/**
 * Makes it, or finds it in the cache in a few milliseconds. At first it downloads some 115 MB.
 * @throws SDK_ERR_IMAGE_… saying what is lacking
 */
export async function ensureBase(options: BaseOptions = {}): Promise<GuestBase> {
  const { flavour = 'generic', onProgress = () => {}, refresh = false } = options;
  const packages = [...PACKAGES, ...(options.packages ?? [])];
  const name = hashOf(RECIPE, GUEST_SUITE, debianArchitecture(), packages, flavour);
  const file = join(imageCache(), 'base', `${name}.json`);
  const pin = readPin(file);
  if (pin !== undefined && !refresh && Date.now() - pin.resolvedAt < PIN_FRESH_MS) {
    const made = await fromPin(pin, undefined, onProgress);
    if (made !== undefined) return made;
  }
  try {
    const archive = await Archive.open({ onProgress, refresh });
    const kernel = await resolveKernel(archive, flavour);
    const next: Pin = { resolvedAt: Date.now(), kernel, packages: await archive.closure(packages) };
    const made = await fromPin(next, archive, onProgress);
    writeWhole(file, `${JSON.stringify(next, undefined, 2)}\n`);
    return made;
  } catch (e) {
    // An old guest is better than none when there is no network; whoever asked for a new one is told.
    const made = pin === undefined || refresh ? undefined : await fromPin(pin, undefined, onProgress);
    if (pin === undefined || made === undefined) throw e;
    onProgress({ what: `Using the packages of ${new Date(pin.resolvedAt).toISOString()}: ${(e as Error).message}` });
    return made;
  }
}

/** A file which this version of the runtime did not write so is as good as none. */
function readPin(file: string): Pin | undefined {
  try {
    const pin = JSON.parse(readFileSync(file, 'utf8')) as Pin;
    const sound = ({ name, version, sha256 }: DebianPackage): boolean =>
      [name, version, sha256].every((part) => typeof part === 'string');
    return typeof pin.resolvedAt === 'number' && sound(pin.kernel) && pin.packages.every(sound) ? pin : undefined;
  } catch {
    return undefined;
  }
}

async function fromPin(pin: Pin, archive: Archive, progress: OnProgress): Promise<GuestBase>;
async function fromPin(pin: Pin, archive: undefined, progress: OnProgress): Promise<GuestBase | undefined>;
/** Without an archive: only when all is in the cache. */
async function fromPin(pin: Pin, archive: Archive | undefined, progress: OnProgress): Promise<GuestBase | undefined> {
  const kernel = await ensureKernel(archive, pin.kernel, progress);
  const tree = await ensureTree(archive, pin.packages);
  if (kernel === undefined || tree === undefined) return undefined;
  return { kernel, tree, id: hashOf(pin.kernel, pin.packages) };
}

async function ensureTree(
  archive: Archive | undefined,
  packages: readonly DebianPackage[],
): Promise<string | undefined> {
  const folder = join(imageCache(), 'trees', hashOf(packages));
  if (archive === undefined) return existsSync(folder) ? folder : undefined;
  return ensureMade(folder, async (at) => {
    for (const deb of await archive.download(packages)) await extractDeb(deb, at);
  });
}

/** Modules of a guest's kernel with what they need, as they are put into an initial file system. */
export async function guestModules({ kernel }: GuestBase, names: readonly string[]): Promise<Module[]> {
  const modules = await collectModules(kernel.modules, names);
  return modules.map(({ name, bytes }) => ({ name, bytes: withoutSignature(bytes) }));
}
