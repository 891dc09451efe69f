// Starting a container: what it gets for this run, and the owners of its files where its numbers have changed.

import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LxdClient, LxdInstance } from '../lxd/client.ts';
import { SUFFIXES } from './names.ts';
import { type OsRelease, parseOsRelease } from './os-release.ts';

export type Privilege = 'UNCHANGED' | 'UNPRIVILEGED' | 'PRIVILEGED';

export interface StartOptions {
  readonly token: string;
  readonly privilege: Privilege;
  readonly disableAudioCapture: boolean;
}

const TOKEN_PATH = '/dev/.container_token';
const TOKEN_MAX = 256;
/** Microphones, as the kernel calls them: pcmC0D0c. */
const CAPTURE = /^pcmC\d{1,2}D\d{1,2}c$/;

export function isToken(token: string): boolean {
  return token !== '' && token.length <= TOKEN_MAX && /^[\x21-\x7e]+$/.test(token);
}

/** @throws LxdError when it cannot be done to one that runs */
export async function setPrivilege(client: LxdClient, { name, config }: LxdInstance, privilege: Privilege) {
  if (privilege === 'UNCHANGED') return;
  const wanted = String(privilege === 'PRIVILEGED');
  if ((config['security.privileged'] ?? 'false') === wanted) return;
  await client.update(name, { config: { 'security.privileged': wanted } });
}

/**
 * Its devices are those of this run, and no others.
 * @param tokens folder where the tokens of containers lie
 * @throws LxdError; Error of the file system
 */
export async function prepareStart(
  client: LxdClient,
  instance: LxdInstance,
  tokens: string,
  options: StartOptions,
): Promise<void> {
  const { name } = instance;
  const token = join(tokens, `${name}_token`);
  mkdirSync(tokens, { recursive: true, mode: 0o755 });
  // Its user must be able to read it, whatever number that has out here; and it is read whole.
  writeFileSync(`${token}.new`, options.token, { mode: 0o644 });
  chmodSync(`${token}.new`, 0o644);
  renameSync(`${token}.new`, token);
  const devices = {
    container_token: { type: 'disk', source: token, path: TOKEN_PATH, required: 'false' },
    ...(options.disableAudioCapture ? {} : captureDevices('/dev/snd')),
  };
  const whole = (await client.call('GET', `/1.0/instances/${encodeURIComponent(name)}`)) as object;
  await client.call('PUT', `/1.0/instances/${encodeURIComponent(name)}`, { body: { ...whole, devices } });
  await setPrivilege(client, instance, options.privilege);
}

function captureDevices(folder: string): Record<string, Record<string, string>> {
  if (!existsSync(folder)) return {};
  const nodes = readdirSync(folder).filter((node) => CAPTURE.test(node));
  return Object.fromEntries(
    nodes.map((node) => [node, { type: 'unix-char', path: `${folder}/${node}`, mode: '0666' }]),
  );
}

export async function osReleaseOf(client: LxdClient, name: string): Promise<OsRelease> {
  // Often a link into /usr/lib, which LXD tells instead of following it.
  for (const path of ['/usr/lib/os-release', '/etc/os-release']) {
    const file = await client.readFile(name, path).catch(() => undefined);
    if (file !== undefined) return parseOsRelease(file.content.toString());
  }
  return parseOsRelease('');
}

const LAST_IDMAP = 'volatile.last_state.idmap';
const NEXT_IDMAP = 'volatile.idmap.next';

/** Whether its files on the disk belong to other numbers than it will have. Empty: they are not shifted at all. */
export function needsRemap({ config }: LxdInstance): boolean {
  const [last, next] = [config[LAST_IDMAP] ?? '', config[NEXT_IDMAP] ?? ''];
  return last !== '' && last !== '[]' && next !== '' && last !== next;
}

/**
 * Gives the files of a container that does not run its new owners: in a copy, which takes its place. At whatever moment
 * this ends, `recoverRemap` goes on from there.
 * @throws LxdError
 */
export async function remap(client: LxdClient, name: string): Promise<void> {
  const copy = name + SUFFIXES.remap;
  await client.remove(copy);
  await client.call('POST', '/1.0/instances', {
    body: { name: copy, source: { type: 'copy', source: name } },
    idleMs: 0,
  });
  // LXD gives files their owners when it starts a container.
  await client.changeState(copy, 'start');
  await client.changeState(copy, 'stop', { force: true });
  await client.writeFile(copy, '/etc/hostname', { content: Buffer.from(`${name}\n`) });
  await client.rename(name, name + SUFFIXES.recover);
  await client.rename(copy, name);
  await client.remove(name + SUFFIXES.recover);
}

/** Puts right what a remap that was cut off has left. @throws LxdError */
export async function recoverRemap(client: LxdClient, names: readonly string[]): Promise<void> {
  const there = new Set(names);
  for (const each of names) {
    if (!each.endsWith(SUFFIXES.recover)) continue;
    const name = each.slice(0, -SUFFIXES.recover.length);
    const copy = name + SUFFIXES.remap;
    // Between the two renames: the copy is finished. After both: only the original is left to be removed.
    if (there.has(name)) await client.remove(each);
    else if (there.has(copy)) {
      await client.rename(copy, name);
      there.delete(copy);
      await client.remove(each);
    } else await client.rename(each, name);
  }
  for (const each of there) if (each.endsWith(SUFFIXES.remap)) await removeAnyhow(client, each);
}

async function removeAnyhow(client: LxdClient, name: string): Promise<void> {
  await client.changeState(name, 'stop', { force: true }).catch(() => {});
  await client.remove(name);
}
