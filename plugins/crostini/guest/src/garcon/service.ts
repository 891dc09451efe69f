// vm_tools.container.Garcon: what the host asks of a container.

import { homedir, userInfo } from 'node:os';
import { GrpcStatus } from '@runtime/sdk/errors';
import { RpcError } from '../../../src/rpc/frame.ts';
import type { RpcHandlers } from '../../../src/rpc/rpc.ts';
import type { containerGuestTable } from '../../../src/wire/container-guest.ts';
import type { Dial } from '../maitred/host.ts';
import { serveVsh } from '../vshd/session.ts';

export interface GarconParts {
  readonly dial: Dial;
  readonly log: (line: string) => void;
}

type Handlers = RpcHandlers<typeof containerGuestTable, 'vm_tools.container.Garcon'>;

const DIAL_MS = 10_000;
const SESSIONS_MAX = 256;
/** Variables of the user's services that are not for shells: they name this process. */
const OWN: readonly string[] = ['INVOCATION_ID', 'JOURNAL_STREAM', 'SYSTEMD_EXEC_PID', 'MANAGERPID', 'NOTIFY_SOCKET'];

export function garconHandlers({ dial, log }: GarconParts): Handlers {
  let sessions = 0;
  const notYet = (what: string) => async (): Promise<never> => {
    throw new RpcError(GrpcStatus.unimplemented, `${what} is not built yet`);
  };
  return {
    LaunchVshd: async ({ port }) => {
      if (port === 0) return { success: false, failure_reason: 'there is no port' };
      if (sessions >= SESSIONS_MAX) return { success: false, failure_reason: `there are ${sessions} sessions` };
      const stream = await dial(port, AbortSignal.timeout(DIAL_MS)).catch((e: Error) => e);
      if (stream instanceof Error) return { success: false, failure_reason: stream.message };
      stream.on('error', () => {});
      sessions += 1;
      const { username } = userInfo();
      void serveVsh(stream, log, {
        target: 'any',
        defaultUser: username,
        allowedUser: username,
        env: sessionEnv(),
      }).finally(() => {
        sessions -= 1;
      });
      return { success: true };
    },
    GetGarconSessionInfo: async () => ({
      ...{ status: 'SUCCEEDED', container_username: userInfo().username, container_homedir: homedir() },
      sftp_vsock_port: 0,
    }),
    GetDebugInformation: async () => ({
      debug_information: `garcon ${process.pid}, Node ${process.version}, ${sessions} shells\n`,
    }),
    LaunchApplication: notYet('LaunchApplication'),
    GetIcon: notYet('GetIcon'),
    GetLinuxPackageInfo: notYet('GetLinuxPackageInfo'),
    InstallLinuxPackage: notYet('InstallLinuxPackage'),
    UninstallPackageOwningFile: notYet('UninstallPackageOwningFile'),
    ConnectChunnel: notYet('ConnectChunnel'),
    ApplyAnsiblePlaybook: notYet('ApplyAnsiblePlaybook'),
    ConfigureForArcSideload: notYet('ConfigureForArcSideload'),
    AddFileWatch: notYet('AddFileWatch'),
    RemoveFileWatch: notYet('RemoveFileWatch'),
  };
}

/** Of the user's service manager: its bus, its folders, its display. */
function sessionEnv(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && !OWN.includes(entry[0]),
    ),
  );
}
