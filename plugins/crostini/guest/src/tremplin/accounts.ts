// The user of a container, in its passwd(5), group(5) and their shadows. By hand, since a container that does not run yet
// has no useradd(8), and some have none at all. The files are the container's: what is no line of theirs is kept as it is.

/** Numbers that ChromeOS' shared folders belong to, inside of containers. */
export const ACCOUNTS = {
  primary: 1000,
  'chronos-access': 1001,
  'android-everybody': 665_357,
  'android-root': 655_360,
} as const;

/** Whom programs ask: those that there are. */
const OPTIONAL_GROUPS: readonly string[] = [
  ...['audio', 'cdrom', 'dialout', 'floppy', 'kvm', 'libvirt', 'plugdev', 'sudo', 'users', 'video', 'wheel'],
];
const REQUIRED_GROUPS: readonly string[] = ['android-everybody', 'chronos-access'];
/** As useradd(8) of Debian takes them. */
const USER_NAME = /^[a-z_][-a-z0-9_]{0,30}\$?$/;

export interface AccountFiles {
  readonly passwd: string;
  readonly group: string;
  /** Undefined where a distribution has none. */
  readonly shadow: string | undefined;
  readonly gshadow: string | undefined;
}

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

export function isUserName(name: string): boolean {
  return USER_NAME.test(name);
}

/** Whoever has that number in a passwd(5). */
export function accountByUid(passwd: string, uid: number): Account | undefined {
  for (const line of passwd.split('\n')) {
    const [name = '', , id, gid, , home = ''] = line.split(':');
    if (Number(id) === uid && id !== '' && name !== '') return { name, uid, gid: Number(gid), home };
  }
  return undefined;
}

export interface AccountChange {
  readonly files: AccountFiles;
  readonly account: Account;
  /** Not there before. */
  readonly isNew: boolean;
}

/**
 * The files with a user of number 1000, in the groups that it needs. Somebody who has that number keeps the name.
 * @param shell what it logs in to
 * @throws Error when the name is somebody else's
 */
export function withUser(files: AccountFiles, name: string, shell: string): AccountChange {
  const there = accountByUid(files.passwd, ACCOUNTS.primary);
  const account = there ?? { name, uid: ACCOUNTS.primary, gid: ACCOUNTS.primary, home: `/home/${name}` };
  let { passwd, group, shadow, gshadow } = files;
  if (there === undefined) {
    if (hasName(passwd, name)) throw new Error(`${name} is there, with another number than ${ACCOUNTS.primary}`);
    passwd = appended(passwd, `${name}:x:${account.uid}:${account.gid}::${account.home}:${shell}`);
    shadow = shadow === undefined ? undefined : withShadow(shadow, name);
  }
  const groups: readonly (readonly [name: string, gid: number])[] = [
    ...(there === undefined ? [[name, account.gid] as const] : []),
    ...(['chronos-access', 'android-everybody', 'android-root'] as const).map(
      (each) => [each, ACCOUNTS[each]] as const,
    ),
  ];
  for (const [each, gid] of groups) {
    if (hasName(group, each)) continue;
    group = appended(group, `${each}:x:${gid}:`);
    gshadow = gshadow === undefined || hasName(gshadow, each) ? gshadow : appended(gshadow, `${each}:!::`);
  }
  for (const each of [...REQUIRED_GROUPS, ...OPTIONAL_GROUPS]) {
    group = withMember(group, each, account.name);
    gshadow = gshadow === undefined ? undefined : withMember(gshadow, each, account.name);
  }
  for (const each of ['chronos-access', 'android-everybody', 'android-root'] as const) {
    if (hasName(passwd, each) || accountByUid(passwd, ACCOUNTS[each]) !== undefined) continue;
    passwd = appended(passwd, `${each}:x:${ACCOUNTS[each]}:${ACCOUNTS[each]}::/:/usr/sbin/nologin`);
    shadow = shadow === undefined ? undefined : withShadow(shadow, each);
  }
  return { files: { passwd, group, shadow, gshadow }, account, isNew: there === undefined };
}

function hasName(table: string, name: string): boolean {
  return table.split('\n').some((line) => line.startsWith(`${name}:`));
}

function appended(table: string, line: string): string {
  return `${table}${table === '' || table.endsWith('\n') ? '' : '\n'}${line}\n`;
}

/** No password: whoever may become it needs none. */
function withShadow(shadow: string, name: string): string {
  return hasName(shadow, name) ? shadow : appended(shadow, `${name}:*:19700:0:99999:7:::`);
}

/** Members are the last field, both of group(5) and of gshadow(5). */
function withMember(table: string, group: string, member: string): string {
  return table
    .split('\n')
    .map((line) => {
      if (!line.startsWith(`${group}:`)) return line;
      const fields = line.split(':');
      if (fields.length !== 4) return line;
      const members = (fields[3] ?? '').split(',').filter((each) => each !== '');
      if (members.includes(member)) return line;
      return [...fields.slice(0, 3), [...members, member].join(',')].join(':');
    })
    .join('\n');
}
