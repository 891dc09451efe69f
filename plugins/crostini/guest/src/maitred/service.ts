// vm_tools.Maitred: what the host asks of a guest.

import { writeFileSync } from 'node:fs';
import { release, version } from 'node:os';
import type { RpcHandlers } from '../../../src/rpc/rpc.ts';
import type { vmGuestTable } from '../../../src/wire/vm-guest.ts';
import { setTime, setTimezone } from './clock.ts';
import type { Log } from './log.ts';
import { mount9p, mountDisk } from './mounts.ts';
import { configureNetwork, resetIpv6 } from './network.ts';
import type { Processes } from './processes.ts';
import { invalid, unready } from './refusal.ts';
import { setResolvConf } from './resolv-conf.ts';
import type { StatefulDisk } from './storage.ts';
import type { System } from './system.ts';
import { setUpUser } from './users.ts';

export interface MaitredParts {
  readonly system: System;
  readonly log: Log;
  /** Undefined where another program is the first process: then it starts programs. */
  readonly processes: Processes | undefined;
  readonly disk: StatefulDisk;
  /** What looks after the containers of this machine; never throws. @param subnet theirs, with this machine's address */
  readonly startTremplin?: (subnet: string) => void;
  /** Resolves when nothing is left to be done but to end. */
  readonly shutDown: () => Promise<void>;
  /** Connects to a port of the host; the descriptor. */
  readonly dialHost: (port: number) => Promise<{ readonly fd: number; close(): void }>;
}

const TOKEN_FILE = '/dev/.container_token';
const TOKEN_MAX = 256;
const DONE = Promise.resolve({});

export function maitredHandlers(parts: MaitredParts): RpcHandlers<typeof vmGuestTable, 'vm_tools.Maitred'> {
  const { system, log, processes, disk } = parts;
  const done = (fn: () => void): Promise<object> => {
    fn();
    return DONE;
  };
  return {
    ConfigureNetwork: async ({ ipv4_config, resolv_config }) => {
      configureNetwork(system, log, ipv4_config);
      if (resolv_config !== undefined) setResolvConf(system, resolv_config);
      return {};
    },
    ConfigureContainerGuest: ({ container_token: token }) =>
      done(() => {
        if (token === '' || token.length > TOKEN_MAX) throw invalid('there is no token, or it is too long');
        writeFileSync(system.root + TOKEN_FILE, token, { mode: 0o644 });
      }),
    ResetIPv6: () => done(() => resetIpv6(system, log)),
    OnHostNetworkChanged: () => done(() => resetIpv6(system, log)),
    Shutdown: async () => {
      await parts.shutDown();
      return {};
    },
    LaunchProcess: (request) => {
      if (processes === undefined) throw unready('maitred is not the first process here');
      return processes.launch(request);
    },
    Mount: (request) => mountDisk(system, request),
    StartTermina: async ({ stateful_device: device, lxd_ipv4_subnet: subnet }) => {
      const mount_result = await disk.mount(device);
      if (mount_result !== 'FAILURE' && subnet !== '') parts.startTremplin?.(subnet);
      const { freeBytes } = disk;
      return { mount_result, free_bytes: BigInt(freeBytes ?? 0), free_bytes_has_value: freeBytes !== undefined };
    },
    SetTime: ({ time }) => done(() => setTime(system, time)),
    SetTimezone: ({ timezone_name, use_bind_mount }) => done(() => setTimezone(system, timezone_name, use_bind_mount)),
    Mount9P: (request) => mount9p(system, request, parts.dialHost),
    SetResolvConfig: ({ resolv_config: config }) =>
      done(() => {
        if (config === undefined) throw invalid('there is no resolv_config');
        setResolvConf(system, config);
      }),
    GetKernelVersion: () => Promise.resolve({ kernel_release: release(), kernel_version: version() }),
    ResizeFilesystem: async ({ size }) => ({ status: await disk.resize(size) }),
    GetResizeStatus: () => Promise.try(() => disk.resizeStatus()),
    GetResizeBounds: async () => ({ minimum_size: await disk.minimumSize() }),
    GetAvailableSpace: async () => {
      const { freeBytes } = disk;
      if (freeBytes === undefined) throw unready('there is no stateful disk');
      return { available_space: BigInt(freeBytes) };
    },
    PrepareToSuspend: () => done(() => system.sync()),
    UpdateStorageBalloon: async ({ free_space_bytes: free }) => ({
      result: disk.balloon(free) ? ('SUCCESS' as const) : ('BALLOON_INFLATE_FAILED' as const),
    }),
    SetUpUser: async (request) => setUpUser(system, request),
  };
}
