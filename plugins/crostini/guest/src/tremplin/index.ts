// tremplin: looks after LXD and its containers, for the host. A process of its own, which maitred starts again when it ends.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { VSOCK } from '@runtime/sdk/linux';
import { objectOf, textOf } from '../lxd/json.ts';
import type { Dial } from '../maitred/host.ts';
import type { Log } from '../maitred/log.ts';
import type { System } from '../maitred/system.ts';
import { RpcServer } from '../rpc/server.ts';
import { connectVsockStream, listenVsockStreams } from '../vsock/index.ts';
import { type ContainerNetwork, type ContainerSubnet, startContainerNetwork } from './container-network.ts';
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

/** As the program of a guest. Never returns. */
export function runTremplin(system: System, log: Log, subnet: ContainerSubnet, milestone: number): void {
  const dial: Dial = (port, signal) => connectVsockStream({ cid: VSOCK.host, port }, { signal });
  const stateful = '/mnt/stateful';
  const folders = {
    ...{ lxd: process.env.LXD_DIR ?? join(stateful, 'lxd'), shared: '/mnt/shared' },
    ...{ tools: '/opt/google/cros-containers', external: '/mnt/external' },
  };
  mkdirSync(folders.lxd, { recursive: true, mode: 0o711 });
  const tremplin = startTremplin({
    ...{ system, log, folders, tokens: TOKENS, subnet, milestone },
    tell: hostTeller(dial, log),
  });
  const server = new RpcServer((e) => log('error', String(e)));
  server.add(tremplinWire, 'vm_tools.tremplin.Tremplin', tremplin.handlers);
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
  void tremplin.lxd.adopt().then(() => tellTremplinReady(dial, log));
}
