// The one process of a guest: PID 1, maitred and vshd. It never ends before the machine does: when it does, the kernel panics.

import { closeSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { peekEndedChild, reapChild, VSOCK } from '@runtime/sdk/linux';
import { Protobuf } from '@runtime/sdk/protobuf';
import { vmGuestTable } from '../../src/wire/vm-guest.ts';
import { type KernelParameters, parseKernelParameters } from './maitred/cmdline.ts';
import { type Dial, reportFailure, tellReady } from './maitred/host.ts';
import { finishMachine, initialiseMachine } from './maitred/init.ts';
import { kernelLog, type Log } from './maitred/log.ts';
import { type MachineLogs, machineLogs } from './maitred/log-sources.ts';
import { Processes } from './maitred/processes.ts';
import { startReaper } from './maitred/reaper.ts';
import { maitredHandlers } from './maitred/service.ts';
import { endEverything } from './maitred/shutdown.ts';
import { StatefulDisk } from './maitred/storage.ts';
import { linuxSystem } from './maitred/system.ts';
import { serveTemplate } from './maitred/template.ts';
import { RpcServer } from './rpc/server.ts';
import { startVshd } from './vshd/index.ts';
import { connectVsockFd, connectVsockStream, listenVsockStreams } from './vsock/index.ts';

/** For whoever makes the image. */
export { warmUp } from './warm-up.ts';

const VSH_PORT = 9001;
/** The programs beside this one. */
const CONTAINERS = 'containers.cjs';
/** The answer to Shutdown is on its way. */
const FAREWELL_MS = 100;
/** After these nobody needs more of them. */
const ERRORS_MAX = 200;
/** From the host, one for each call at most. */
const CONNECTIONS_MAX = 256;

const dialHost: Dial = (port, signal) => connectVsockStream({ cid: VSOCK.host, port }, { signal });

if (process.pid === 1) startOrGiveUp();

/** Without what every program needs there is nothing to wait for. */
function startOrGiveUp(): void {
  try {
    start();
  } catch (e) {
    kernelLog('/dev/kmsg')('error', `the machine cannot be set up: ${describe(e)}`);
    linuxSystem.endMachine('power-off');
  }
}

function start(): void {
  const log = kernelLog('/dev/kmsg');
  surviveErrors(log);
  // What ps and top call it.
  process.title = 'maitred';
  process.env.PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  process.env.HOME = '/root';
  const system = linuxSystem;
  log('info', 'Node runs');
  initialiseMachine(system, log);
  log('info', 'the machine is set up');
  const parameters = parseKernelParameters(readFileSync('/proc/cmdline', 'utf8'));
  startReaper({ peek: peekEndedChild, reap: reapChild }, (e) => log('warning', String(e)));
  serve(log, parameters);
}

function serve(log: Log, parameters: KernelParameters): void {
  const system = linuxSystem;
  const logs = machineLogs(dialHost, log);
  const onFailure = (name: string): void => reportFailure(dialHost, name);
  const processes = new Processes({ log, onFailure, onOutput: logs.output });
  const shutDown = shutDownOnce(log, processes, logs);
  const server = new RpcServer((e) => log('error', describe(e)));
  server.add(
    new Protobuf(vmGuestTable),
    'vm_tools.Maitred',
    maitredHandlers({
      ...{ system, log, processes, shutDown },
      startTremplin: (subnet) => startTremplin(processes, log, subnet),
      disk: new StatefulDisk(system, log),
      dialHost: async (port) => {
        const fd = await connectVsockFd({ cid: VSOCK.host, port }, { signal: AbortSignal.timeout(10_000) });
        return { fd, close: () => closeSync(fd) };
      },
    }),
  );
  let connections = 0;
  listenVsockStreams(parameters.listenPort, (stream, { cid }) => {
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
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGPWR'] as const) process.on(signal, () => void shutDown());
  const beCalled = (): void => {
    startVshd(
      (onConnection) => listenVsockStreams(VSH_PORT, onConnection),
      (line) => log('info', line),
    );
    log('info', 'serving');
    void tellReady(dialHost, log).then(() => {
      log('info', 'the host has been told');
      logs.start();
    });
    setImmediate(() => {
      if (parameters.startupProcesses) void processes.startFrom('/etc/maitred');
    });
  };
  setImmediate(() => finishMachine(system, log));
  if (parameters.template) serveTemplate(server, system, beCalled);
  else beCalled();
}

let hasTremplin = false;

/** Once, of a machine's life. It lies beside this program. */
function startTremplin(processes: Processes, log: Log, subnet: string): void {
  if (hasTremplin) return;
  hasTremplin = true;
  const argv = [process.execPath, join(import.meta.dirname, CONTAINERS), 'tremplin', subnet];
  processes
    .launch({ argv, env: new Map(), respawn: true, use_console: false, wait_for_exit: false })
    .catch((e: unknown) => log('error', `tremplin cannot be started: ${describe(e)}`));
}

/** Ends everything, and then, when the host has had its answer, the machine. */
function shutDownOnce(log: Log, processes: Processes, logs: MachineLogs): () => Promise<void> {
  let ending: Promise<void> | undefined;
  return () => {
    ending ??= (async () => {
      log('notice', 'the machine is being shut down');
      processes.stopRespawning();
      await endEverything(linuxSystem, log);
      await logs.finish();
      setTimeout(() => linuxSystem.endMachine('power-off'), FAREWELL_MS);
    })();
    return ending;
  };
}

function surviveErrors(log: Log): void {
  let errors = 0;
  const onError = (e: unknown): void => {
    errors += 1;
    if (errors <= ERRORS_MAX) log('error', describe(e));
  };
  process.on('uncaughtException', onError);
  process.on('unhandledRejection', onError);
}

function describe(e: unknown): string {
  return e instanceof Error ? (e.stack ?? e.message) : String(e);
}
