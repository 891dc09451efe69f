// tremplin: looks after LXD and its containers, for the host. A process of its own, which maitred starts again when it ends.

import { mkdirSync } from 'node:fs';
import { VSOCK } from '@runtime/sdk/linux';
import { objectOf, textOf } from '../lxd/json.ts';
import type { Dial } from '../maitred/host.ts';
import { kernelLog, type Log } from '../maitred/log.ts';
import { linuxSystem, type System } from '../maitred/system.ts';
import { RpcServer } from '../rpc/server.ts';
import { connectVsockStream, listenVsockStreams } from '../vsock/index.ts';
import {
  type ContainerNetwork,
  type ContainerSubnet,
  parseSubnet,
  startContainerNetwork,
} from './container-network.ts';
import { hostTeller, type TellHost, tellTremplinReady, tremplinWire } from './host.ts';
import { LxdServer } from './lxd-server.ts';
import { isTransient } from './names.ts';
import { tremplinHandlers } from './service.ts';
import { type LxdFolders, setUpLxd } from './set-up.ts';
import { recoverRemap } from './start.ts';

export const TREMPLIN_PORT = 8890;
const CONNECTIONS_MAX = 64;
/** Of LXD, which has none of its own. */
const LXD_COMMAND: readonly string[] = ['lxd', '--group', 'root'];
const TOKENS = '/run/tokens';
const FOLDERS: LxdFolders = {
  ...{ lxd: '/mnt/stateful/lxd', shared: '/mnt/shared' },
  // Node and this program: what runs here runs in containers, too.
  ...{ tools: '/opt/runtime', external: '/mnt/external' },
};
/** Of ChromeOS: whose images are meant where a server has one set for each. */
const MILESTONE = 140;

export interface TremplinOptions {
  readonly system: Pick<System, 'run'>;
  readonly log: Log;
  readonly folders: LxdFolders;
  readonly tokens: string;
  readonly subnet: ContainerSubnet;
  readonly milestone: number;
  readonly tell: TellHost;
  /** What programs are prefixed with; for tests. */
  readonly within?: readonly string[];
}

export interface RunningTremplin extends Disposable {
  readonly lxd: LxdServer;
  readonly handlers: ReturnType<typeof tremplinHandlers>;
}

/** All of it but the way to the host. */
export function startTremplin(options: TremplinOptions): RunningTremplin {
  const { log, folders, tell, within = [] } = options;
  let network: ContainerNetwork | undefined;
  const lxd = new LxdServer({
    ...{ folder: folders.lxd, command: [...within, ...LXD_COMMAND], log },
    prepare: async (client) => {
      network ??= await startContainerNetwork(options);
      await setUpLxd(client, folders);
      await recoverRemap(
        client,
        (await client.instances()).map(({ name }) => name),
      );
    },
    onStatus: (status, failure_reason) => tell('UpdateStartLxdStatus', { status, failure_reason }),
    onLifecycle: ({ metadata }) => {
      const name = stoppedContainer(metadata);
      if (name !== undefined) tell('ContainerShutdown', { container_name: name });
    },
  });
  const { tokens, milestone } = options;
  return {
    lxd,
    handlers: tremplinHandlers({ lxd, network: () => network, tell, log, tokens, milestone }),
    [Symbol.dispose]() {
      lxd.end();
      network?.[Symbol.dispose]();
    },
  };
}

/** Of an event of LXD: whose container has ended, by itself or not. */
function stoppedContainer(metadata: unknown): string | undefined {
  const { action, source } = objectOf(metadata);
  if (action !== 'instance-shutdown' && action !== 'instance-stopped') return undefined;
  const name = /^\/1\.0\/instances\/([^/?]+)/.exec(textOf(source))?.[1];
  return name === undefined || isTransient(name) ? undefined : name;
}

/**
 * The program of a guest.
 * @param args the subnet of containers, with the machine's own address in it
 */
export function tremplinMain([subnetText = '']: readonly string[]): void {
  const log = kernelLog('/dev/kmsg', 'tremplin');
  process.title = 'tremplin';
  const subnet = parseSubnet(subnetText);
  if (subnet === undefined) {
    log('error', `${JSON.stringify(subnetText)} is no subnet`);
    process.exit(2);
  }
  process.on('uncaughtException', (e) => log('error', e.stack ?? e.message));
  process.on('unhandledRejection', (e) => log('error', String(e)));
  const dial: Dial = (port, signal) => connectVsockStream({ cid: VSOCK.host, port }, { signal });
  mkdirSync(FOLDERS.lxd, { recursive: true, mode: 0o711 });
  const tremplin = startTremplin({
    ...{ system: linuxSystem, log, folders: FOLDERS, tokens: TOKENS, subnet, milestone: MILESTONE },
    tell: hostTeller(dial, log),
  });
  const server = new RpcServer((e) => log('error', String(e)));
  server.add(tremplinWire, 'vm_tools.tremplin.Tremplin', tremplin.handlers);
  serveHost(server, log);
  for (const signal of ['SIGTERM', 'SIGPWR'] as const) process.on(signal, () => process.exit());
  void tremplin.lxd.adopt().then(() => tellTremplinReady(dial, log));
}

function serveHost(server: RpcServer, log: Log): void {
  let connections = 0;
  listenVsockStreams(TREMPLIN_PORT, (stream, { cid }) => {
    if (cid !== VSOCK.host || connections >= CONNECTIONS_MAX) {
      log('warning', `CID ${cid} was refused`);
      stream.on('error', () => {}).destroy();
      return;
    }
    connections += 1;
    stream.on('close', () => {
      connections -= 1;
    });
    server.accept(stream);
  });
}
