// The user whom a container is for.

import type { LxdClient, LxdFile } from '../lxd/client.ts';
import { ACCOUNTS, type Account, type AccountFiles, accountByUid, withUser } from './accounts.ts';

/** In which they are written: the user itself comes last. */
const ORDER = ['gshadow', 'shadow', 'group', 'passwd'] as const;
const SKELETON: readonly string[] = ['.bashrc', '.profile', '.bash_logout'];
const SHELLS: readonly string[] = ['/bin/bash', '/bin/ash'];

/** @returns who it is. @throws LxdError; Error when the name is somebody else's */
export async function setUpUser(client: LxdClient, container: string, name: string): Promise<Account> {
  const read = (each: (typeof ORDER)[number]): Promise<LxdFile | undefined> =>
    client.readFile(container, `/etc/${each}`);
  const [passwdFile, groupFile] = await Promise.all([read('passwd'), read('group')]);
  if (passwdFile === undefined || groupFile === undefined) throw new Error('it has no /etc/passwd or no /etc/group');
  const [passwd, group] = [passwdFile, groupFile].map(({ content }) => content.toString()) as [string, string];
  const account = alreadyThere({ passwd, group, shadow: undefined, gshadow: undefined }, name);
  if (account !== undefined) return account;
  const [shadowFile, gshadowFile] = await Promise.all([read('shadow'), read('gshadow')]);
  const before: AccountFiles = {
    ...{ passwd, group },
    ...{ shadow: shadowFile?.content.toString(), gshadow: gshadowFile?.content.toString() },
  };
  const change = withUser(before, name, await shellOf(client, container));
  // A home first: whoever finds the user finds it. A set-up that was cut off begins anew.
  if (change.isNew) await makeHome(client, container, change.account);
  await linger(client, container, change.account.name);
  const found = { passwd: passwdFile, group: groupFile, shadow: shadowFile, gshadow: gshadowFile };
  for (const each of ORDER) {
    const [text, file] = [change.files[each], found[each]];
    if (text === undefined || text === before[each] || file === undefined) continue;
    await client.writeFile(container, `/etc/${each}`, { ...file, content: Buffer.from(text) });
  }
  return change.account;
}

/** Nothing of it is lacking: to look takes two of the ten calls that it takes to do. */
function alreadyThere(files: AccountFiles, name: string): Account | undefined {
  const { files: wanted, account, isNew } = withUser(files, name, '/bin/sh');
  return !isNew && wanted.passwd === files.passwd && wanted.group === files.group ? account : undefined;
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
