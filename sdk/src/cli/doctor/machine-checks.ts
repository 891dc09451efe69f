// What `runtime doctor` looks at on this machine, before any plugin.

import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Check, CheckResult } from '@runtime/core';
import { controlSocketPath } from '@runtime/core/control';
import { loadConfig } from '../config/layers.ts';
import { errorText } from '../error-text.ts';
import { cacheFolder, configFolder, dataFolder, type Environment, stateFolder } from '../xdg.ts';

const MIN_NODE = [24, 12] as const;
const MIN_INOTIFY_WATCHES = 8_192;
const CONNECT_MS = 1_000;
const TRY_MS = 5_000;

const run = promisify(execFile);

const ok = (found: string): CheckResult => ({ status: 'ok', found });
const warn = (found: string, remedy: string): CheckResult => ({ status: 'warn', found, remedy });
const fail = (found: string, remedy: string): CheckResult => ({ status: 'fail', found, remedy });

export interface MachineFacts {
  readonly env: Environment;
  readonly cwd: string;
  readonly configFile: string | undefined;
  /** Root of the file system that is looked at; "/" but in tests. */
  readonly root?: string;
}

/** In the order in which they are shown. */
export function machineChecks(facts: MachineFacts): readonly (readonly [name: string, check: Check])[] {
  const { env, root = '/' } = facts;
  return [
    ['node', () => checkNode(process.versions.node)],
    ['runtime folder', () => checkRuntimeFolder(env)],
    ['folders', () => checkFolders(env)],
    ['configuration', () => checkConfiguration(facts)],
    ['sockets', () => checkSockets(env)],
    ['util-linux', () => checkPrograms(env, ['setpriv', 'prlimit'])],
    ['cgroups', () => checkCgroups(root)],
    ['user namespaces', () => tryUserNamespace(checkUserNamespaces(root))],
    ['inotify', () => checkInotify(root)],
    ['kvm', () => checkKvm(root)],
  ];
}

export function checkNode(version: string): CheckResult {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const enough = major > MIN_NODE[0] || (major === MIN_NODE[0] && minor >= MIN_NODE[1]);
  return enough
    ? ok(version)
    : fail(`${version} is too old`, `Install Node ${MIN_NODE.join('.')} or newer: npm install node@24`);
}

export function checkRuntimeFolder(env: Environment): CheckResult {
  const folder = dirname(dirname(controlSocketPath(env)));
  const status = lstatSync(folder, { throwIfNoEntry: false });
  const user = process.getuid?.() ?? 0;
  if (status === undefined) return fail(`${folder} does not exist`, `mkdir -m 700 ${folder}, or set XDG_RUNTIME_DIR`);
  if (env.XDG_RUNTIME_DIR === undefined) {
    return warn(
      `XDG_RUNTIME_DIR is not set; ${folder} is used`,
      'Log in through a session manager (pam_systemd), or set it to a folder of your own with mode 700.',
    );
  }
  if (status.uid !== user) return fail(`${folder} belongs to user ${status.uid}`, `chown ${user} ${folder}`);
  if ((status.mode & 0o077) !== 0) {
    return warn(`${folder} is open to others (mode ${(status.mode & 0o777).toString(8)})`, `chmod 700 ${folder}`);
  }
  return ok(folder);
}

export function checkFolders(env: Environment): CheckResult {
  const folders = [configFolder(env), dataFolder(env), stateFolder(env), cacheFolder(env)];
  const wrong = folders.filter((folder) => !mayWrite(folder));
  if (wrong.length > 0)
    return fail(`${wrong.join(', ')} cannot be written`, `Check owner and mode: ls -ld ${wrong.join(' ')}`);
  return ok(folders.map((folder) => folder).join(', '));
}

/** Of a folder that does not exist, whether it could be made. */
function mayWrite(folder: string): boolean {
  let at = folder;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  return may(at, constants.W_OK | constants.X_OK);
}

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

async function checkConfiguration({ env, cwd, configFile }: MachineFacts): Promise<CheckResult> {
  try {
    const { files } = await loadConfig(env, cwd, configFile === undefined ? {} : { config: configFile });
    return ok(files.length === 0 ? 'no file; everything is at its default' : files.join(', '));
  } catch (e) {
    return fail(errorText(e).replaceAll('\n', '; '), 'runtime config check shows each mistake.');
  }
}

async function checkSockets(env: Environment): Promise<CheckResult> {
  const folder = dirname(controlSocketPath(env));
  const sockets = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.sock')) : [];
  const states = await Promise.all(
    sockets.map(async (name) => ({ path: join(folder, name), alive: await answers(join(folder, name)) })),
  );
  const stale = states.filter(({ alive }) => !alive).map(({ path }) => path);
  if (stale.length > 0) {
    return warn(`nobody listens on ${stale.join(', ')}`, 'A runtime was killed; the next start takes the socket over.');
  }
  return ok(sockets.length === 0 ? 'no runtime runs' : `${sockets.length} in use`);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (alive: boolean): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(CONNECT_MS, () => done(false));
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}

export function checkPrograms(env: Environment, names: readonly string[]): CheckResult {
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const missing = names.filter((name) => !folders.some((folder) => may(join(folder, name), constants.X_OK)));
  if (missing.length > 0) {
    return fail(
      `${missing.join(', ')} not found in PATH`,
      "apt install util-linux (or your distribution's package of it)",
    );
  }
  return ok(names.join(', '));
}

/** cgroups(7) */
export function checkCgroups(root: string): CheckResult {
  if (existsSync(join(root, 'sys/fs/cgroup/cgroup.controllers'))) return ok('version 2');
  if (existsSync(join(root, 'sys/fs/cgroup/unified'))) {
    return warn('version 1 with 2 beside it', 'Boot with systemd.unified_cgroup_hierarchy=1 for limits per VM.');
  }
  return warn('no version 2', 'Boot with systemd.unified_cgroup_hierarchy=1 for limits per VM.');
}

/** user_namespaces(7) */
export function checkUserNamespaces(root: string): CheckResult {
  const max = readNumber(join(root, 'proc/sys/user/max_user_namespaces'));
  if (max === undefined || max === 0) {
    return fail('this kernel or its settings allow none', 'sysctl user.max_user_namespaces=15000');
  }
  if (process.getuid?.() === 0) return ok(`${max} allowed`);
  if (readNumber(join(root, 'proc/sys/kernel/unprivileged_userns_clone')) === 0) {
    return fail('only root may make them', 'sysctl kernel.unprivileged_userns_clone=1');
  }
  if (readNumber(join(root, 'proc/sys/kernel/apparmor_restrict_unprivileged_userns')) === 1) {
    return warn(
      'AppArmor restricts those of unprivileged users',
      'sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for node',
    );
  }
  return ok(`${max} allowed`);
}

/** Settings are many (seccomp and LSMs have some, too), so one is made where they allow it: unshare(1). */
async function tryUserNamespace(settings: CheckResult): Promise<CheckResult> {
  if (settings.status === 'fail') return settings;
  try {
    await run('unshare', ['--user', '--map-root-user', 'true'], { timeout: TRY_MS });
    return settings;
  } catch (e) {
    const { stderr = '', message } = e as Error & { stderr?: string };
    const why = stderr.trim().split('\n')[0] || message;
    return fail(
      `one cannot be made: ${why}`,
      settings.remedy ?? 'Inside a container, start that with user namespaces allowed (its seccomp profile).',
    );
  }
}

/** inotify(7) */
export function checkInotify(root: string): CheckResult {
  const watches = readNumber(join(root, 'proc/sys/fs/inotify/max_user_watches'));
  if (watches === undefined)
    return warn('this kernel has none', 'runtime plugin dev needs a kernel with CONFIG_INOTIFY_USER.');
  if (watches < MIN_INOTIFY_WATCHES) {
    return warn(
      `only ${watches} watches`,
      `For runtime plugin dev: sysctl fs.inotify.max_user_watches=${MIN_INOTIFY_WATCHES * 8}`,
    );
  }
  return ok(`${watches} watches`);
}

/** https://docs.kernel.org/virt/kvm/api.html */
export function checkKvm(root: string): CheckResult {
  const device = join(root, 'dev/kvm');
  if (!existsSync(device)) {
    return warn(
      '/dev/kvm is not there',
      'Enable virtualisation in the firmware (or nested virtualisation around this VM), then: modprobe kvm_intel or kvm_amd',
    );
  }
  if (!may(device, constants.R_OK | constants.W_OK)) {
    return warn('/dev/kvm may not be opened', 'Join its group, then log in again: usermod -aG kvm $USER');
  }
  return ok('/dev/kvm');
}

function readNumber(file: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(file, 'utf8'), 10);
  } catch {
    return undefined;
  }
}
