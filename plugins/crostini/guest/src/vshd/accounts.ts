// Users of the guest, passwd(5).

import { readFileSync } from 'node:fs';

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/** Who a shell is for when nobody is named, as in ChromeOS. */
const DEFAULT_USER = 'chronos';
const ROOT: Account = { name: 'root', uid: 0, gid: 0, home: '/root', shell: '/bin/sh' };

/**
 * By name or by number. No name is the default user, or root in a guest that has none.
 * Undefined: there is no such user.
 */
export function findAccount(user: string, file = '/etc/passwd'): Account | undefined {
  const accounts = readAccounts(file);
  const byName = (name: string): Account | undefined => accounts.find((one) => one.name === name);
  if (user === '') return byName(DEFAULT_USER) ?? byName('root') ?? ROOT;
  return byName(user) ?? accounts.find(({ uid }) => String(uid) === user) ?? (user === 'root' ? ROOT : undefined);
}

function readAccounts(file: string): readonly Account[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line): Account[] => {
    const [name, , uid, gid, , home, shell] = line.split(':');
    if (name === undefined || home === undefined || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) return [];
    return [{ name, uid: Number(uid), gid: Number(gid), home: home || '/', shell: shell?.trim() || '/bin/sh' }];
  });
}
