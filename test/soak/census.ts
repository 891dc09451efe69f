// What there is of a runtime on this machine, and whether it should be there: processes, leases, records, sockets, files,
// mounts, interfaces, rules of nftables, and what the process of the runtime itself has.

import { spawnSync } from 'node:child_process';
import { type Dirent, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLAIMS_FOLDER } from '../../plugins/crostini/src/network/claims.ts';
import { runtimeId, tableName } from '../../plugins/crostini/src/network/names.ts';
import { processesWith, type Subject } from './subject.ts';

/** What ends, ends within this time. */
const SETTLE_MS = 15_000;
const MIB = 2 ** 20;

export interface Footprint {
  readonly descriptors: number;
  /** Bytes. */
  readonly rss: number;
  readonly leases: number;
}

export async function footprint(subject: Subject): Promise<Footprint> {
  const { pid } = subject;
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    rss: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024,
    leases: (await subject.inspect()).leases.length,
  };
}

/** Everything that is wrong, in words, once it has had the time to come right. @param vms that run */
export async function problemsOf(subject: Subject, vms: readonly string[]): Promise<readonly string[]> {
  const until = Date.now() + SETTLE_MS;
  for (;;) {
    const problems = await problemsNow(subject, vms);
    if (problems.length === 0 || Date.now() > until) return problems;
    await sleep(300);
  }
}

async function problemsNow(subject: Subject, vms: readonly string[]): Promise<readonly string[]> {
  const machines = vms.map((name) => `t-${name}`);
  const { processes, leases } = await subject.inspect();
  const ofRunning = (text: string): boolean => machines.some((name) => mentions(text, name));
  const stray = [
    ...processes
      .filter(({ key, pid }) => pid !== undefined && isOfVm(key) && !ofRunning(key))
      .map(({ key, pid }) => `process ${key} (${pid}) is of no VM`),
    ...strayProcesses(subject, new Set(processes.flatMap(({ pid }) => pid ?? []))),
    ...leases
      .filter(({ key }) => !ofRunning(key) && !vms.some((name) => key.startsWith('termina:') && key.endsWith(name)))
      .map(({ pool, key }) => `lease ${pool} ${key}`),
    ...strayFiles(subject.folder, ofRunning),
    ...mountsBelow(subject.folder),
    ...strayNetwork(runtimeId(join(subject.folder, STATE_OF_PLUGIN)), vms.length),
  ];
  return stray;
}

/** Whether it is the name of this machine, and not the beginning of another's. */
function mentions(text: string, machine: string): boolean {
  return text.split(/[^\w-]/).includes(machine);
}

/** `vm/<name>/qemu`, `<name>/<device>`, `<name>/<device>/<helper>` */
const isOfVm = (key: string): boolean => key.startsWith('vm/') || key.startsWith('t-');

/** Those that the runtime does not know, unless one that it knows has started them. */
function strayProcesses({ mark, pid: runtime }: Subject, known: ReadonlySet<number>): readonly string[] {
  const all = processesWith(mark);
  const parents = new Map(all.map(({ pid, parent }) => [pid, parent]));
  const isKnown = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined; at = parents.get(at)) if (known.has(at)) return true;
    return false;
  };
  return all
    .filter(({ pid }) => pid !== runtime && !isKnown(pid))
    .map(({ pid, command }) => `process ${pid} is nobody's: ${command.slice(0, 120)}`);
}

const UNFINISHED = /\.(tmp|new|partial|building)(\/|$)/;
/** Of the runtime, whatever runs in it. */
const SOCKETS: ReadonlySet<string> = new Set(['runtime/default.sock']);

function strayFiles(folder: string, ofRunning: (text: string) => boolean): readonly string[] {
  return entriesBelow(folder).flatMap(({ path, entry }) => {
    const name = relative(folder, path);
    if (UNFINISHED.test(name)) return [`unfinished file ${name}`];
    if (entry.isSocket() && !SOCKETS.has(name) && !ofRunning(name)) return [`socket ${name}`];
    if (entry.isDirectory() && /^runtime\/vm-[^/]+\/[^/]+$/.test(name) && !ofRunning(name)) return [`folder ${name}`];
    const decoded = decodeURIComponent(name);
    if (/\/vm\/|(^|\/)vm%2F/.test(name) && entry.isFile() && !/\/(logs|consoles)\//.test(name) && !ofRunning(decoded)) {
      // Records of the concierge have names of VMs, not of machines.
      const vm =
        decoded
          .split(/[\s/]/)
          .at(-1)
          ?.replace(/\.json$/, '') ?? '';
      if (!ofRunning(`t-${vm}`)) return [`record ${name}`];
    }
    return [];
  });
}

function entriesBelow(folder: string): readonly { readonly path: string; readonly entry: Dirent }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) => ({
    path: join(entry.parentPath, entry.name),
    entry,
  }));
}

function mountsBelow(folder: string): readonly string[] {
  return readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .filter((line) => line.includes(folder))
    .map((line) => `mount ${line.split(' ')[4]}`);
}

const STATE_OF_PLUGIN = 'state/runtime/default/plugins/crostini';

/** What all runtimes of this computer share has the names of this one. */
function strayNetwork(id: string, vms: number): readonly string[] {
  const taps = readdirSync('/sys/class/net').filter((name) => name.startsWith(`rtap${id}-`));
  if (vms > 0) return taps.length > vms ? [`interfaces ${taps.join(', ')} for ${vms} VMs`] : [];
  // Without root there are none.
  const tables = spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' }).stdout ?? '';
  return [
    ...taps.map((name) => `interface ${name}`),
    ...(tables.includes(tableName(id)) ? [`table ${tableName(id)} of nftables`] : []),
    ...entriesBelow(CLAIMS_FOLDER).flatMap(({ path }) => (path.includes(id) ? [`claim ${path}`] : [])),
  ];
}

/** Of a runtime without VMs, beside what it had when it was fresh. */
export function growthOf(now: Footprint, fresh: Footprint): readonly string[] {
  const descriptors = now.descriptors - fresh.descriptors;
  const rss = now.rss - fresh.rss;
  return [
    ...(descriptors > 10 ? [`the runtime has ${descriptors} more descriptors than at first`] : []),
    ...(rss > 200 * MIB ? [`the runtime has ${Math.round(rss / MIB)} MiB more than at first`] : []),
  ];
}
