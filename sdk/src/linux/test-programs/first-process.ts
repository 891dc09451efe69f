// Process 1 of namespaces of its own: mounts, orphans, the network of IPv4. Prints what came out as JSON.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  addDefaultRoute,
  isLinuxError,
  MOUNT,
  mountFilesystem,
  openTap,
  peekEndedChild,
  reapChild,
  removeDefaultRoute,
  setHostName,
  setInterfaceAddress,
  setInterfaceUp,
  setResourceLimit,
  syncFilesystems,
  unmount,
} from '@runtime/sdk/linux';

function failure(fn: () => void): string {
  try {
    fn();
    return 'none';
  } catch (e) {
    return isLinuxError(e) ? e.errnoName : String(e);
  }
}

const [folder = ''] = process.argv.slice(2);
mountFilesystem({ source: 'here', target: folder, type: 'tmpfs', flags: MOUNT.noSuid, data: 'size=1m' });
writeFileSync(`${folder}/file`, 'x');
mkdirSync(`${folder}/again`);
mountFilesystem({ source: folder, target: `${folder}/again`, flags: MOUNT.bind });
const bound = existsSync(`${folder}/again/file`);
syncFilesystems();
unmount(`${folder}/again`);
unmount(folder, { detach: true });
mountFilesystem({ source: 'proc', target: '/proc', type: 'proc' });

setHostName('some-guest');
setResourceLimit('openFiles', 512);

// The shell ends, its child does later: an orphan.
const shell = spawn('sh', ['-c', 'sleep 0.2 & echo $!'], { stdio: ['ignore', 'pipe', 'ignore'] });
const [text] = (await once(shell.stdout, 'data')) as [Buffer];
await once(shell, 'exit');
const orphan = Number(text.toString());
const early = peekEndedChild();
await sleep(400);
const peeked = peekEndedChild() === orphan && peekEndedChild() === orphan;
const reaped = [reapChild(orphan), reapChild(orphan)];

openTap({ name: 'eth0' });
setInterfaceAddress('eth0', '100.115.92.26', '255.255.255.252');
setInterfaceUp('eth0', true);
addDefaultRoute('100.115.92.25');
const routes = readFileSync('/proc/net/route', 'utf8')
  .split('\n')
  .slice(1)
  .map((line) => line.split('\t').slice(0, 3));
const twice = failure(() => addDefaultRoute('100.115.92.25'));
removeDefaultRoute('100.115.92.25');

console.log(
  JSON.stringify({
    ...{ bound, gone: !existsSync(`${folder}/file`), host: hostname() },
    limit: /Max open files +(\d+) +(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.slice(1),
    ...{ early: early ?? null, peeked, reaped, routes, twice },
    again: failure(() => removeDefaultRoute('100.115.92.25')),
    nothing: failure(() => mountFilesystem({ source: 'x', target: '/nowhere', type: 'tmpfs' })),
    strange: failure(() => mountFilesystem({ source: 'x', target: folder, type: 'nosuchfs' })),
  }),
);
