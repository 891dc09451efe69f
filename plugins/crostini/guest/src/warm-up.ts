// What every start of a guest runs, run while its image is made: V8 then keeps what it compiled for it. Nothing of it
// touches the machine that it is made on.

import { setTimeout as sleep } from 'node:timers/promises';
import { socketPair } from '@runtime/sdk/linux';
import { Protobuf } from '@runtime/sdk/protobuf';
import { callUnary } from '../../src/rpc/unary.ts';
import { vmGuestTable } from '../../src/wire/vm-guest.ts';
import { vmHostTable } from '../../src/wire/vm-host.ts';
import { parseKernelParameters } from './maitred/cmdline.ts';
import { tellReady } from './maitred/host.ts';
import { finishMachine, initialiseMachine } from './maitred/init.ts';
import { kernelLines, type Log } from './maitred/log.ts';
import { Processes } from './maitred/processes.ts';
import { startReaper } from './maitred/reaper.ts';
import { maitredHandlers } from './maitred/service.ts';
import { StatefulDisk } from './maitred/storage.ts';
import { linuxSystem, type System } from './maitred/system.ts';
import { RpcServer } from './rpc/server.ts';
import { streamOfFd } from './vsock/index.ts';

const nothing = (): void => {};

/** Nothing can be made below a file: what maitred writes goes nowhere. (In /proc, mkdir of Node goes round for ever.) */
const NOWHERE: System = {
  ...linuxSystem,
  root: '/dev/null',
  ...{ mount: nothing, unmount: nothing, sync: nothing, endMachine: nothing, setHostName: nothing, kill: nothing },
  ...{ setResourceLimit: nothing, setClock: nothing, setInterfaceUp: nothing, setInterfaceAddress: nothing },
  ...{ addDefaultRoute: nothing, removeDefaultRoute: nothing },
  run: () => Promise.reject(new Error('nothing runs here')),
};

const DEADLINE_MS = 10_000;

export async function warmUp(): Promise<void> {
  const log: Log = (priority, text) => void kernelLines(priority, text);
  initialiseMachine(NOWHERE, log);
  finishMachine(NOWHERE, log);
  parseKernelParameters('quiet maitred.listen_port=8888');
  startReaper({ peek: () => undefined, reap: () => false }, nothing)[Symbol.dispose]();
  const guestWire = new Protobuf(vmGuestTable);
  const maitred = new RpcServer(nothing);
  maitred.add(
    guestWire,
    'vm_tools.Maitred',
    maitredHandlers({
      ...{ system: NOWHERE, log, processes: new Processes({ log, onFailure: nothing }) },
      ...{ disk: new StatefulDisk(NOWHERE, log), shutDown: () => Promise.resolve() },
      dialHost: () => Promise.reject(new Error('there is no host here')),
    }),
  );
  const host = new RpcServer(nothing);
  const messages = { ...vmHostTable.messages, 'vm_tools.EmptyMessage': {} } as const;
  host.add(new Protobuf({ ...vmHostTable, messages }), 'vm_tools.StartupListener', {
    VmReady: () => Promise.resolve({}),
    VmInstallStatus: () => Promise.resolve({}),
  });
  await tellReady(() => dial(host), log, AbortSignal.timeout(DEADLINE_MS));
  const common = { wire: guestWire, service: 'vm_tools.Maitred', deadlineMs: DEADLINE_MS } as const;
  const call = { ...common, dial: () => dial(maitred) };
  const ipv4_config = { address: 1, netmask: 1, gateway: 1 };
  await callUnary({ ...call, method: 'ConfigureNetwork', request: { ipv4_config } });
  await callUnary({ ...call, method: 'SetTime', request: { time: { seconds: 1n, nanos: 0 } } });
  await callUnary({ ...call, method: 'GetKernelVersion', request: {} });
  // Connections end in their own time.
  await sleep(50);
}

async function dial(server: RpcServer): Promise<ReturnType<typeof streamOfFd>> {
  const [near, far] = socketPair('stream');
  server.accept(streamOfFd(far));
  return streamOfFd(near);
}
