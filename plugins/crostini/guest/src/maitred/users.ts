// The user of a VM, in /etc/passwd and /etc/group: passwd(5), group(5). By hand, as small images have no useradd(8).

import { chownSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { System } from './system.ts';

export interface UserRequest {
  readonly username: string;
  readonly uid: number | undefined;
  readonly group_names: readonly string[];
}

export interface UserResult {
  readonly success: boolean;
  readonly failure_reason: string;
  readonly username: string;
}

const NAME = /^[a-z][-a-z0-9_]{0,30}\$?$/;
const DEFAULT_UID = 1000;
const UID_MAX = 65_533;
const GROUPS_MAX = 64;
const SKELETON = '/etc/skel';

/** What stands against it is told in the answer. @throws Error of the file system */
export function setUpUser(system: System, request: UserRequest): UserResult {
  const { username, group_names: groups } = request;
  const uid = request.uid ?? DEFAULT_UID;
  const refuse = (why: string): UserResult => ({ success: false, failure_reason: why, username: '' });
  if (!NAME.test(username)) return refuse(`${JSON.stringify(username.slice(0, 100))} is no name of a user`);
  if (uid < 1 || uid > UID_MAX) return refuse(`${uid} cannot be the number of a user`);
  const wrong = groups.find((name) => !NAME.test(name));
  if (wrong !== undefined || groups.length > GROUPS_MAX) return refuse('there are too many groups, or one has no name');

  const passwd = readTable(system, '/etc/passwd');
  const byName = passwd.find(([name]) => name === username);
  const byUid = passwd.find(([, , id]) => id === String(uid));
  if (byName !== undefined && byName[2] !== String(uid)) return refuse(`${username} is there with number ${byName[2]}`);
  // The first user of an image is the one that is meant, whatever it is called.
  const name = byName?.[0] ?? byUid?.[0] ?? username;
  if (byName === undefined && byUid !== undefined && request.uid !== undefined && name !== username)
    return refuse(`number ${uid} belongs to ${name}`);
  const groupTable = readTable(system, '/etc/group');
  if (byName === undefined && byUid === undefined) {
    passwd.push([name, 'x', String(uid), String(uid), '', `/home/${name}`, '/bin/bash']);
    writeTable(system, '/etc/passwd', passwd);
    if (!groupTable.some(([group]) => group === name)) groupTable.push([name, 'x', String(uid), '']);
    makeHome(system, name, uid);
  }
  join(groupTable, name, groups);
  writeTable(system, '/etc/group', groupTable);
  linger(system, name);
  return { success: true, failure_reason: '', username: name };
}

type Table = string[][];

function readTable(system: System, file: string): Table {
  const text = readFileSync(system.root + file, 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(':'));
}

/** Whole or not at all. */
function writeTable(system: System, file: string, table: Table): void {
  const path = system.root + file;
  writeFileSync(`${path}.new`, table.map((row) => `${row.join(':')}\n`).join(''), { mode: 0o644 });
  renameSync(`${path}.new`, path);
}

/** Groups that there are not are made, with numbers that are free. */
function join(table: Table, user: string, groups: readonly string[]): void {
  for (const group of groups) {
    let row = table.find(([name]) => name === group);
    if (row === undefined) {
      const used = new Set(table.map(([, , id]) => id));
      let id = DEFAULT_UID + 1;
      while (used.has(String(id))) id += 1;
      row = [group, 'x', String(id), ''];
      table.push(row);
    }
    const members = (row[3] ?? '').split(',').filter((member) => member !== '');
    if (!members.includes(user)) row[3] = [...members, user].join(',');
  }
}

function makeHome(system: System, name: string, uid: number): void {
  const home = `${system.root}/home/${name}`;
  if (existsSync(home)) return;
  mkdirSync(home, { recursive: true, mode: 0o755 });
  if (existsSync(system.root + SKELETON)) cpSync(system.root + SKELETON, home, { recursive: true });
  if (process.getuid?.() === 0) chownSync(home, uid, uid);
}

/** logind keeps the services of such a user when nobody is logged in. */
function linger(system: System, name: string): void {
  const folder = `${system.root}/var/lib/systemd`;
  if (!existsSync(folder)) return;
  mkdirSync(`${folder}/linger`, { recursive: true });
  writeFileSync(`${folder}/linger/${name}`, '');
}
