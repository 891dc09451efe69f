// @ts-check
// What `npm start`, `npm test` and `npm run check`, `bench`, `soak` and `docs` run. From a fresh clone it first does all the
// set-up: packages, the right Node, Debian packages. Plain JavaScript that runs on Node 18, without any package.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { runInstead } from '../sdk/bin/rerun.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** Where Debian has modules of Python. */
const PYTHON = '/usr/lib/python3/dist-packages';
const NODE = join(ROOT, 'node_modules/node/bin/node');
const STAMP = join(ROOT, 'node_modules/.cache/bootstrap.json');
const SOURCE_CONDITION = '--conditions=@runtime/source';
/** A package that could not be installed is not tried again for this long, in ms. */
const RETRY_MS = 24 * 3_600_000;

/** What `npm start` alone does: a shell in a Debian container, in a VM. */
const MAIN_JOB = ['--plugins', 'crostini', 'terminal'];

/** @typedef {'start' | 'test' | 'check' | 'bench' | 'soak' | 'docs'} Task */
/** @typedef {{ flags: string[], file: string, args: string[] }} Step */

/** @type {Record<Task, (args: string[]) => Step[]>} */
const TASKS = {
  start: (args) => [
    { flags: [SOURCE_CONDITION], file: 'sdk/bin/runtime.mjs', args: args.length === 0 ? MAIN_JOB : args },
  ],
  test: (args) => [
    {
      flags: [],
      file: 'node_modules/vitest/vitest.mjs',
      args: ['run', ...(process.env.CI ? ['--no-color'] : []), ...args],
    },
  ],
  check: (args) => [
    { flags: [], file: 'node_modules/typescript/bin/tsc', args: ['--noEmit', '-p', 'tsconfig.json'] },
    { flags: [], file: 'node_modules/@biomejs/biome/bin/biome', args: ['check', '--error-on-warnings', ...args] },
  ],
  bench: (args) => [{ flags: [SOURCE_CONDITION, '--expose-gc'], file: 'bench/main.ts', args }],
  soak: (args) => [{ flags: [SOURCE_CONDITION], file: 'test/soak/main.ts', args }],
  docs: (args) => [{ flags: [SOURCE_CONDITION], file: 'scripts/docs.ts', args }],
};

/**
 * Debian packages beside those every Debian has. `vm`: a start needs it only when it may run a VM.
 * @type {{ package: string, command: string, why: string, neededBy: (Task | 'vm')[] }[]}
 */
const DEBIAN_PACKAGES = [
  { package: 'util-linux', command: 'script', why: 'a terminal for the tests of the live view', neededBy: ['test'] },
  { package: 'tmux', command: 'tmux', why: 'a terminal for the tests of shells in guests', neededBy: ['test'] },
  { package: 'bash', command: 'bash', why: 'tests of its completion', neededBy: ['test'] },
  { package: 'zsh', command: 'zsh', why: 'tests of its completion', neededBy: ['test'] },
  { package: 'fish', command: 'fish', why: 'tests of its completion', neededBy: ['test'] },
  {
    package: 'qemu-system-x86',
    command: 'qemu-system-x86_64',
    why: 'the machine that VMs run on',
    neededBy: ['vm', 'test', 'bench', 'soak'],
  },
  { package: 'passt', command: 'passt', why: 'the network of VMs', neededBy: ['vm', 'test', 'bench', 'soak'] },
  { package: 'xz-utils', command: 'xz', why: 'unpacks guest kernels', neededBy: ['vm', 'test', 'bench', 'soak'] },
  {
    package: 'qemu-utils',
    command: 'qemu-img',
    why: 'what our disk images are compared with',
    neededBy: ['test', 'bench', 'soak'],
  },
  {
    package: 'erofs-utils',
    command: 'mkfs.erofs',
    why: 'file systems of Termina and of the Debian guest of the tests',
    neededBy: ['vm', 'test', 'bench', 'soak'],
  },
  {
    package: 'mmdebstrap',
    command: 'mmdebstrap',
    why: 'makes the image of containers',
    neededBy: ['vm', 'test', 'soak'],
  },
  {
    package: 'squashfs-tools',
    command: 'sqfstar',
    why: 'packs the image of containers',
    neededBy: ['vm', 'test', 'soak'],
  },
  { package: 'bubblewrap', command: 'bwrap', why: 'jails of processes', neededBy: ['vm', 'test'] },
  { package: 'lxd', command: 'lxd', why: 'tests of what looks after containers in VMs', neededBy: ['test'] },
  { package: 'busybox-static', command: 'busybox', why: 'containers of the tests', neededBy: ['test'] },
  { package: 'e2fsprogs', command: 'mke2fs', why: 'file systems of the Debian guest', neededBy: ['test', 'bench'] },
  { package: 'dbus', command: 'dbus-daemon', why: 'a bus for the tests of the D-Bus', neededBy: ['test'] },
  { package: 'protobuf-compiler', command: 'protoc', why: 'tests of the D-Bus in Python', neededBy: ['test'] },
  { package: 'python3-dbus', command: `${PYTHON}/dbus`, why: 'tests of the D-Bus in Python', neededBy: ['test'] },
  { package: 'python3-gi', command: `${PYTHON}/gi`, why: 'tests of the D-Bus in Python', neededBy: ['test'] },
  {
    package: 'python3-protobuf',
    command: `${PYTHON}/google/protobuf`,
    why: 'tests of the D-Bus in Python',
    neededBy: ['test'],
  },
  { package: 'nftables', command: 'nft', why: 'rules for VMs that have a tap', neededBy: ['test'] },
  { package: 'dnsmasq-base', command: 'dnsmasq', why: 'names for VMs that have a tap', neededBy: ['test'] },
  { package: 'iperf3', command: 'iperf3', why: 'tests of the network of guests', neededBy: ['test', 'bench'] },
];

/** @typedef {{ lock?: string, node?: string, tried?: Record<string, number> }} Stamp */

await main(process.argv[2], process.argv.slice(3));

/**
 * @param {string | undefined} name
 * @param {string[]} args
 */
async function main(name, args) {
  if (name === undefined || !(name in TASKS)) {
    say(`usage: node scripts/bootstrap.mjs ${Object.keys(TASKS).join('|')} [arguments]`);
    process.exit(2);
  }
  const task = /** @type {Task} */ (name);
  try {
    const stamp = readStamp();
    await installPackages(stamp);
    await installNode(stamp);
    await installDebianPackages(needs(task, args), stamp);
  } catch (e) {
    say(e instanceof Error ? e.message : String(e));
    process.exit(1);
  }
  const steps = TASKS[task](args);
  // npm runs scripts in the root; paths given to `npm start` are meant from where the user is.
  if (task === 'start' && process.env.INIT_CWD !== undefined) process.chdir(process.env.INIT_CWD);
  const [only] = steps;
  if (steps.length === 1 && only !== undefined) return runLast(only);
  let failed = 0;
  for (const step of steps) {
    const code = await run(NODE, [...step.flags, join(ROOT, step.file), ...step.args]);
    if (code !== 0) failed = code;
  }
  process.exit(failed);
}

/**
 * @param {Task} task
 * @param {string[]} args
 * @returns {(Task | 'vm')[]}
 */
function needs(task, args) {
  const mayRunVm = task === 'start' && (args.length === 0 || args.some((arg) => /\b(vmm|crostini|arcvm)\b/.test(arg)));
  return mayRunVm ? [task, 'vm'] : [task];
}

/**
 * In this very process when it is the right Node with the right flags, else in its place.
 * @param {Step} step
 */
async function runLast({ flags, file, args }) {
  const path = join(ROOT, file);
  const here = process.versions.node === wantedNode() && flags.every((flag) => process.execArgv.includes(flag));
  if (!here) return runInstead(NODE, [...flags, path, ...args]);
  process.argv = [process.execPath, path, ...args];
  await import(pathToFileURL(path).href);
}

/** @param {Stamp} stamp */
async function installPackages(stamp) {
  const lockText = readFileSync(join(ROOT, 'package-lock.json'));
  const lock = createHash('sha256').update(lockText).digest('hex');
  if (stamp.lock === lock) return;
  if (!alreadyInstalled(JSON.parse(lockText.toString()))) {
    await withProgress('installing packages (npm ci)', npm(['ci', '--no-audit', '--no-fund']));
  }
  delete stamp.node;
  stamp.lock = lock;
  writeStamp(stamp);
}

/**
 * Somebody ran npm by hand: node_modules holds what the lock file asks for.
 * @param {{ packages: Record<string, { version?: string, optional?: boolean, link?: boolean }> }} lock
 */
function alreadyInstalled(lock) {
  const hidden = join(ROOT, 'node_modules/.package-lock.json');
  if (!existsSync(hidden)) return false;
  const { packages } = JSON.parse(readFileSync(hidden, 'utf8'));
  return Object.entries(lock.packages).every(
    ([path, { version, optional }]) => path === '' || optional === true || packages[path]?.version === version,
  );
}

/**
 * The npm package `node` fetches its binary in an install script, which npm may have been told not to run.
 * @param {Stamp} stamp
 */
async function installNode(stamp) {
  const wanted = wantedNode();
  if (stamp.node === wanted && existsSync(NODE)) return;
  if ((await versionOf(NODE)) !== `v${wanted}`) {
    rmSync(NODE, { force: true });
    const script = [join(ROOT, 'node_modules/node/installArchSpecificPackage.js')];
    await withProgress(`installing Node ${wanted}`, {
      file: process.execPath,
      args: script,
      cwd: join(ROOT, 'node_modules/node'),
    });
    const got = await versionOf(NODE);
    if (got !== `v${wanted}`) {
      throw new Error(`${NODE} should be Node ${wanted}, but answers "${got}"\n  → remove node_modules and try again`);
    }
  }
  stamp.node = wanted;
  writeStamp(stamp);
}

/** @returns {string} */
function wantedNode() {
  return JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).devDependencies.node;
}

/** @param {string} file */
async function versionOf(file) {
  return existsSync(file) ? (await capture(file, ['--version'])).output.trim() : 'nothing';
}

/**
 * @param {(Task | 'vm')[]} needed
 * @param {Stamp} stamp
 */
async function installDebianPackages(needed, stamp) {
  const missing = DEBIAN_PACKAGES.filter((p) => p.neededBy.some((use) => needed.includes(use)) && !onPath(p.command));
  const tried = stamp.tried ?? {};
  const fresh = missing.filter((p) => Date.now() - (tried[p.package] ?? 0) > RETRY_MS);
  if (fresh.length === 0) return;
  const names = fresh.map((p) => p.package);
  stamp.tried = { ...tried, ...Object.fromEntries(names.map((name) => [name, Date.now()])) };
  writeStamp(stamp);
  const mayInstall = process.getuid?.() === 0 && onPath('apt-get');
  if (mayInstall) {
    const install = ['-q', 'install', '-y', '--no-install-recommends', ...names];
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    try {
      await withProgress(`installing ${names.join(', ')} (apt-get)`, { file: 'apt-get', args: ['-q', 'update'], env });
      await withProgress('', { file: 'apt-get', args: install, env });
      return;
    } catch (e) {
      say(e instanceof Error ? e.message : String(e));
    }
  }
  const reasons = fresh.map((p) => `${p.package} (${p.why})`).join(', ');
  const without = needed.includes('test') ? '; without, those tests are skipped' : '';
  say(`please install ${reasons}: apt-get install ${names.join(' ')}${without}`);
}

/** Also where Debian puts what only an administrator was meant to use. @param {string} command or a path */
function onPath(command) {
  if (command.startsWith('/')) return existsSync(command);
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => folder !== '' && existsSync(join(folder, command)));
}

/** @returns {Stamp} */
function readStamp() {
  try {
    return JSON.parse(readFileSync(STAMP, 'utf8'));
  } catch {
    return {};
  }
}

/** @param {Stamp} stamp */
function writeStamp(stamp) {
  mkdirSync(dirname(STAMP), { recursive: true });
  writeFileSync(STAMP, JSON.stringify(stamp));
}

/** @typedef {{ file: string, args: string[], cwd?: string, env?: NodeJS.ProcessEnv }} Command */

/**
 * The npm that runs this, else the one in PATH.
 * @param {string[]} args
 * @returns {Command}
 */
function npm(args) {
  const cli = process.env.npm_execpath;
  return cli?.endsWith('.js') ? { file: process.execPath, args: [cli, ...args] } : { file: 'npm', args };
}

/**
 * @param {string} label '' prints no first line
 * @param {Command} command
 */
async function withProgress(label, { file, args, cwd = ROOT, env = process.env }) {
  const startedAt = Date.now();
  const seconds = () => Math.round((Date.now() - startedAt) / 1_000);
  if (label !== '') say(`${label} …`);
  const ticker = setInterval(() => say(`  still at it after ${seconds()} s`), 10_000);
  try {
    const { code, output } = await capture(file, args, cwd, env);
    if (code !== 0) {
      const tail = output.trim().split('\n').slice(-20).join('\n');
      throw new Error(`${[file, ...args].join(' ')} failed:\n${tail}\n  → check the network and try again`);
    }
    say(`  done in ${seconds()} s`);
  } finally {
    clearInterval(ticker);
  }
}

/**
 * @param {string} file
 * @param {string[]} args
 * @param {string} [cwd]
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<{ code: number, output: string }>}
 */
function capture(file, args, cwd = ROOT, env = process.env) {
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(file, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output = (output + chunk).slice(-64 * 1024);
      });
    }
    child.on('error', (e) => resolve({ code: 127, output: e.message }));
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

/**
 * @param {string} file
 * @param {string[]} args
 * @returns {Promise<number>}
 */
function run(file, args) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd: ROOT, stdio: 'inherit' });
    child.on('error', (e) => {
      say(e.message);
      resolve(127);
    });
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/** Standard output belongs to the task. @param {string} line */
function say(line) {
  process.stderr.write(`${line}\n`);
}
