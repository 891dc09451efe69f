// The user whom a container is for.

import type { LxdClient } from '../lxd/client.ts';
import { ACCOUNTS, type Account, type AccountFiles, accountByUid, withUser } from './accounts.ts';

const FILES = { passwd: 0o644, group: 0o644, shadow: 0o640, gshadow: 0o640 } as const;
const NAMES = Object.keys(FILES) as readonly (keyof typeof FILES)[];
const SKELETON: readonly string[] = ['.bashrc', '.profile', '.bash_logout'];
const SHELLS: readonly string[] = ['/bin/bash', '/bin/ash'];

/** @returns who it is. @throws LxdError; Error when the name is somebody else's */
export async function setUpUser(client: LxdClient, container: string, name: string): Promise<Account> {
  const found = await Promise.all(NAMES.map((each) => client.readFile(container, `/etc/${each}`)));
  const [passwd, group, shadow, gshadow] = found.map((file) => file?.content.toString());
  if (passwd === undefined || group === undefined) throw new Error('it has no /etc/passwd or no /etc/group');
  const before: AccountFiles = { passwd, group, shadow, gshadow };
  const { files, account, isNew } = withUser(before, name, await shellOf(client, container));
  // A home first: whoever finds the user finds it. A set-up that was cut off begins anew.
  if (isNew) await makeHome(client, container, account);
  await linger(client, container, account.name);
  // The user itself last.
  for (const each of ['gshadow', 'shadow', 'group', 'passwd'] as const) {
    const text = files[each];
    const file = found[NAMES.indexOf(each)];
    if (text === undefined || text === before[each] || file === undefined) continue;
    await client.writeFile(container, `/etc/${each}`, { ...file, content: Buffer.from(text) });
  }
  return account;
}

/** Of a container that runs; undefined when it has none. @throws LxdError */
export async function userOf(client: LxdClient, container: string): Promise<Account | undefined> {
  const passwd = await client.readFile(container, '/etc/passwd');
  return passwd === undefined ? undefined : accountByUid(passwd.content.toString(), ACCOUNTS.primary);
}

async function shellOf(client: LxdClient, container: string): Promise<string> {
  const shells = (await client.readFile(container, '/etc/shells'))?.content.toString().split('\n') ?? [];
  return SHELLS.find((shell) => shells.includes(shell)) ?? '/bin/sh';
}

async function makeHome(client: LxdClient, container: string, { home, uid, gid }: Account): Promise<void> {
  await client.makeFolder(container, '/home');
  await client.makeFolder(container, home, { uid, gid, mode: 0o755 });
  for (const each of SKELETON) {
    const file = await client.readFile(container, `/etc/skel/${each}`);
    if (file !== undefined) await client.writeFile(container, `${home}/${each}`, { ...file, uid, gid });
  }
}

/** Its services run while nobody is logged in. */
async function linger(client: LxdClient, container: string, name: string): Promise<void> {
  const systemd = '/var/lib/systemd';
  for (const folder of [systemd, `${systemd}/linger`]) await client.makeFolder(container, folder);
  await client.writeFile(container, `${systemd}/linger/${name}`, { content: new Uint8Array(0) });
}
