// Debian packages of a suite, whatever the machine itself runs: apt does it, with folders and a configuration of our
// own, as any user. apt checks the signature of the suite's index, and each package against the index.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRuntimeError } from '@runtime/core/errors';
import { errors } from '../errors.ts';
import { debianMirrors, type Mirrors, readAptSources } from './apt-sources.ts';
import { ensureMade, hashOf, imageCache, type OnProgress, temporaryBeside, writeWhole } from './cache.ts';
import { run } from './tool.ts';

/** Of guests, kernel and user space alike. */
export const GUEST_SUITE = 'trixie';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** An index younger than this is used without asking the mirror, in ms. */
const INDEX_FRESH_MS = 6 * 3_600_000;
/** Of apt, per try. */
const NETWORK_TIMEOUT_S = 30;

/** One package, pinned. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  /** In bytes. */
  readonly size: number;
}

const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  riscv64: 'riscv64',
};

/** What Debian calls the architecture of this machine, which is that of its guests. */
export function debianArchitecture(): string {
  return ARCHITECTURES[process.arch] ?? process.arch;
}

export interface ArchiveOptions {
  /** Default {@link GUEST_SUITE}. */
  readonly suite?: string;
  /** Default: those the machine's own apt uses. */
  readonly mirrors?: Mirrors;
  readonly onProgress?: OnProgress;
  /** Ask the mirror even when the index is young. */
  readonly refresh?: boolean;
}

/** The packages of a suite. It has no state but files in the cache. */
export class Archive {
  readonly suite: string;
  readonly #folder: string;
  readonly #progress: OnProgress;

  private constructor(suite: string, folder: string, progress: OnProgress) {
    this.suite = suite;
    this.#folder = folder;
    this.#progress = progress;
  }

  /**
   * With the newest index; an old one when no mirror can be reached.
   * @throws SDK_ERR_IMAGE_MIRROR, SDK_ERR_IMAGE_TOOL, SDK_ERR_IMAGE_PACKAGE
   */
  static async open(options: ArchiveOptions = {}): Promise<Archive> {
    const suite = options.suite ?? GUEST_SUITE;
    const progress = options.onProgress ?? (() => {});
    const mirrors = options.mirrors ?? debianMirrors(readAptSources());
    const place = join(imageCache(), 'apt', hashOf(suite, mirrors, debianArchitecture()));
    mkdirSync(place, { recursive: true });
    // apt is told paths, which are to be good for whoever finds the cache in another way.
    const root = realpathSync(place);
    const known = indexes(root);
    const [newest] = known;
    if (newest !== undefined) keepConfiguration(newest.folder);
    if (newest !== undefined && options.refresh !== true && Date.now() - newest.at < INDEX_FRESH_MS) {
      return new Archive(suite, newest.folder, progress);
    }
    progress({ what: `Fetching the package index of Debian ${suite}` });
    try {
      const folder = await fetchIndex(root, suite, mirrors);
      for (const { folder: old } of known.slice(1)) rmSync(old, { recursive: true, force: true });
      return new Archive(suite, folder, progress);
    } catch (e) {
      if (newest === undefined || isRuntimeError(e, 'SDK_ERR_IMAGE_TOOL')) throw e;
      progress({ what: `Using the package index of ${new Date(newest.at).toISOString()}: no mirror could be reached` });
      return new Archive(suite, newest.folder, progress);
    }
  }

  /**
   * Packages of these names and all that they depend on, without what they recommend. Essential packages are not
   * thought to be there.
   */
  async closure(names: readonly string[]): Promise<DebianPackage[]> {
    const output = await this.#apt('apt-get', ['-s', '-q', '--no-install-recommends', 'install', ...names], names);
    const wanted = [...output.toString().matchAll(/^Inst (\S+) \((\S+) /gm)].map(
      ([, name, version]) => `${name}=${version}`,
    );
    return this.#records(wanted);
  }

  /** The packages of these names and nothing else. */
  async pick(names: readonly string[]): Promise<DebianPackage[]> {
    return this.#records(names);
  }

  /** Names in the `Depends` of a package, first alternatives only. */
  async depends(name: string): Promise<string[]> {
    const record = (await this.#show([name]))[0];
    return (record?.get('depends') ?? '')
      .split(',')
      .map((term) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(term)?.[1] ?? '')
      .filter(Boolean);
  }

  /** Their files, in the cache, in the same order. */
  async download(packages: readonly DebianPackage[]): Promise<string[]> {
    const folder = join(imageCache(), 'debs');
    const fileOf = ({ name, sha256 }: DebianPackage): string => join(folder, `${name}-${sha256}.deb`);
    const lacking = packages.filter((p) => !existsSync(fileOf(p)));
    if (lacking.length > 0) await this.#fetch(lacking, fileOf);
    return packages.map(fileOf);
  }

  async #fetch(lacking: readonly DebianPackage[], fileOf: (p: DebianPackage) => string): Promise<void> {
    const [first] = lacking;
    const into = temporaryBeside(fileOf(first as DebianPackage));
    mkdirSync(into, { recursive: true });
    const total = lacking.reduce((sum, { size }) => sum + size, 0);
    const what = lacking.length === 1 ? `Downloading ${first?.name}` : `Downloading ${lacking.length} packages`;
    const tell = (): void => this.#progress({ what, done: Math.min(total, bytesIn(into)), total });
    const timer = setInterval(tell, 250);
    tell();
    try {
      const pinned = lacking.map(({ name, version }) => `${name}=${version}`);
      await this.#apt('apt-get', ['download', '-q', ...pinned], pinned, into);
      const got = readdirSync(into);
      for (const one of lacking) {
        // apt escapes the colon of a version's epoch in the name of the file.
        const start = `${one.name}_${one.version.replaceAll(':', '%3a')}_`;
        const file = got.find((name) => name.startsWith(start));
        if (file === undefined) throw this.#failed(one.name, 'apt did not download it');
        renameSync(join(into, file), fileOf(one));
      }
      this.#progress({ what, done: total, total });
    } finally {
      clearInterval(timer);
      rmSync(into, { recursive: true, force: true });
    }
  }

  async #records(names: readonly string[]): Promise<DebianPackage[]> {
    const records = await this.#show(names);
    return names.map((wanted) => {
      const [name = '', version] = wanted.split('=');
      const found = records.find(
        (r) => r.get('package') === name && (version === undefined || r.get('version') === version),
      );
      const sha256 = found?.get('sha256') ?? '';
      if (found === undefined || !/^[0-9a-f]{64}$/.test(sha256)) throw this.#failed(wanted, 'the index has none');
      return { name, version: found.get('version') ?? '', sha256, size: Number(found.get('size')) };
    });
  }

  async #show(names: readonly string[]): Promise<ReadonlyMap<string, string>[]> {
    const output = await this.#apt('apt-cache', ['show', '--no-all-versions', ...names], names);
    return output
      .toString()
      .split(/\n\s*\n/)
      .map(
        (stanza) =>
          new Map(
            [...stanza.matchAll(/^([A-Za-z0-9-]+): ?(.*)$/gm)].map(([, k, v]) => [k?.toLowerCase() ?? '', v ?? '']),
          ),
      )
      .filter((record) => record.has('package'));
  }

  async #apt(
    tool: 'apt-get' | 'apt-cache',
    args: readonly string[],
    names: readonly string[],
    cwd?: string,
  ): Promise<Buffer> {
    try {
      return await run(tool, ['-c', join(this.#folder, 'apt.conf'), ...args], {
        what: 'getting Debian packages',
        ...(cwd === undefined ? {} : { cwd }),
      });
    } catch (e) {
      if (!isRuntimeError(e, 'SDK_ERR_IMAGE_COMMAND')) throw e;
      throw this.#failed(names.join(' ').slice(0, 200), String(e.details.why), e);
    }
  }

  #failed(name: string, why: string, cause?: unknown) {
    return errors.SDK_ERR_IMAGE_PACKAGE({
      details: { package: name, suite: this.suite, why, hint: 'Check the network and the mirror; then try again.' },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

/** A cache that was moved lies elsewhere than it says. */
function keepConfiguration(folder: string): void {
  const file = join(folder, 'apt.conf');
  const wanted = aptConfiguration(folder);
  if (readFileSync(file, 'utf8') !== wanted) writeWhole(file, wanted);
}

function indexes(root: string): { at: number; folder: string }[] {
  let names: string[] = [];
  try {
    names = readdirSync(root).filter((name) => /^\d+$/.test(name));
  } catch {
    // None was fetched yet.
  }
  return names.map((name) => ({ at: Number(name), folder: join(root, name) })).sort((a, b) => b.at - a.at);
}

/** Tries one mirror after the other. What it gives never changes any more, so that no process needs to lock it. */
async function fetchIndex(root: string, suite: string, mirrors: Mirrors): Promise<string> {
  if (!existsSync(KEYRING)) {
    const details = { tool: KEYRING, what: 'checking Debian packages', package: 'debian-archive-keyring' };
    throw errors.SDK_ERR_IMAGE_TOOL({ details });
  }
  let problem: unknown;
  for (const mirror of mirrors.archive) {
    const folder = join(root, String(Date.now()));
    try {
      return await ensureMade(folder, async (at) => {
        const sources = [[mirror, suite]];
        const [security] = mirrors.security;
        if (security !== undefined) sources.push([security, `${suite}-security`]);
        for (const name of ['lists/partial', 'cache/archives/partial', 'log'])
          mkdirSync(join(at, name), { recursive: true });
        writeFileSync(join(at, 'status'), '');
        writeFileSync(
          join(at, 'sources.list'),
          sources.map(([uri, name]) => `deb [signed-by=${KEYRING}] ${uri} ${name} main\n`).join(''),
        );
        // Written with the final paths, since apt remembers none of them in what it writes.
        writeFileSync(join(at, 'apt.conf'), aptConfiguration(folder));
        const conf = mkdtempSync(join(tmpdir(), 'runtime-apt-'));
        try {
          writeFileSync(join(conf, 'apt.conf'), aptConfiguration(at));
          await run('apt-get', ['-c', join(conf, 'apt.conf'), 'update', '-q', '--error-on=any'], {
            what: `the package index of Debian ${suite}`,
          });
        } finally {
          rmSync(conf, { recursive: true, force: true });
        }
      });
    } catch (e) {
      if (!isRuntimeError(e, 'SDK_ERR_IMAGE_COMMAND')) throw e;
      problem = e;
    }
  }
  const why = isRuntimeError(problem) ? String(problem.details.why) : String(problem);
  throw errors.SDK_ERR_IMAGE_PACKAGE({
    details: { package: 'index', suite, why, hint: 'Check the network and the mirrors of apt; then try again.' },
    cause: problem,
  });
}

/**
 * Read after the machine's own configuration, so that a proxy set there is used; hooks, pins and the default release
 * are not ours. apt gives up root for downloads to a user who cannot enter a home folder, so it stays who it is.
 */
function aptConfiguration(folder: string): string {
  const architecture = debianArchitecture();
  return `Dir::State "${folder}";
Dir::State::lists "${folder}/lists";
Dir::State::status "${folder}/status";
Dir::Cache "${folder}/cache";
Dir::Log "${folder}/log";
Dir::Etc::sourcelist "${folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
#clear APT::Architectures;
APT::Architecture "${architecture}";
APT::Architectures { "${architecture}"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::http::Timeout "${NETWORK_TIMEOUT_S}";
Acquire::https::Timeout "${NETWORK_TIMEOUT_S}";
Debug::NoLocking "true";
#clear APT::Default-Release;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`;
}

function bytesIn(folder: string): number {
  let sum = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const stats = statSync(join(folder, name), { throwIfNoEntry: false });
    if (stats?.isFile() === true) sum += stats.size;
  }
  return sum;
}
