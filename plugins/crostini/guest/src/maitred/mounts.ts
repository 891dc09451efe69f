// What the host has mounted in a guest.

import { chmodSync, mkdirSync } from 'node:fs';
import { isLinuxError, MOUNT } from '@runtime/sdk/linux';
import { invalid } from './refusal.ts';
import type { System } from './system.ts';

export interface MountRequest {
  readonly source: string;
  readonly target: string;
  readonly fstype: string;
  readonly mountflags: bigint;
  readonly options: string;
  readonly create_target: boolean;
  readonly permissions: number;
  readonly mkfs_if_needed: boolean;
}

/** errno of mount(2); 0 when it was done. */
export interface MountResult {
  readonly error: number;
}

/** Where removable disks will be shown to containers; nothing is mounted there yet. */
const RESERVED = '/mnt/external/0';
const EIO = 5;

/** @throws RpcError when it cannot be meant */
export async function mountDisk(system: System, request: MountRequest): Promise<MountResult> {
  const { source, target, fstype: type, mountflags, options, permissions } = request;
  checkPath(target);
  if ([source, type, options].some((text) => text.includes('\0'))) throw invalid('there are no NUL bytes in a mount');
  if (mountflags > 0xffff_ffffn) throw invalid('mountflags has bits that no kernel knows');
  if (target === RESERVED) return { error: 0 };
  const mount = { source, target: system.root + target, type, flags: Number(mountflags), data: options };
  return withErrno(async () => {
    if (request.create_target) mkdirSync(mount.target, { recursive: true, mode: 0o755 });
    try {
      system.mount(mount);
    } catch (e) {
      if (!isLinuxError(e, 'EINVAL') || !request.mkfs_if_needed) throw e;
      const { code, output } = await system.run(['mkfs.btrfs', '--', source]);
      if (code !== 0) throw new Error(output);
      system.mount(mount);
    }
    if (permissions !== 0) chmodSync(mount.target, permissions & 0o7777);
  });
}

/** @param dial connects to that port of the host @throws RpcError */
export async function mount9p(
  system: System,
  { port, target }: { readonly port: number; readonly target: string },
  dial: (port: number) => Promise<{ readonly fd: number; close(): void }>,
): Promise<MountResult> {
  checkPath(target);
  if (port === 0) throw invalid('there is no port');
  return withErrno(async () => {
    const connection = await dial(port);
    try {
      mkdirSync(system.root + target, { recursive: true });
      const { fd } = connection;
      const data = `trans=fd,rfdno=${fd},wfdno=${fd},cache=none,access=any,version=9p2000.L`;
      const flags = MOUNT.noSuid | MOUNT.noDev;
      system.mount({ source: '9p', target: system.root + target, type: '9p', flags, data });
    } finally {
      // The kernel has its own hold on it.
      connection.close();
    }
  });
}

function checkPath(target: string): void {
  if (!target.startsWith('/') || target.includes('\0') || target.split('/').includes('..') || target.length > 4095)
    throw invalid(`${JSON.stringify(target.slice(0, 100))} is no path to mount on`);
}

async function withErrno(fn: () => Promise<void>): Promise<MountResult> {
  try {
    await fn();
    return { error: 0 };
  } catch (e) {
    const { errno } = e as { readonly errno?: number };
    // Node has them negative.
    return { error: errno === undefined ? EIO : Math.abs(errno) };
  }
}
