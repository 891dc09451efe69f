// A thread that serves some of the queues of a device, with an instance of the device of its own.

import { closeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { toErrorRecord } from '@runtime/core/errors';
import { errors } from '../../errors.ts';
import { createIoEngine } from '../device-io-engine.ts';
import { DeviceRunner } from '../device-runner.ts';
import { loadDevice } from '../process/device-module.ts';
import { type AdoptedQueue, adoptQueue } from './shared-queue.ts';
import type { FromMate, MateMethod, MateMethods, MateRequest, MateStart } from './team-messages.ts';

interface Serving {
  readonly adopted: AdoptedQueue;
  /** A copy of the interrupt descriptor: the other thread closes its own whenever it likes. */
  call: number;
}

const port = parentPort;
if (port === null) throw new Error('this program is a thread of a device process');
const tell = (message: FromMate): void => port.postMessage(message);

let runner: DeviceRunner | undefined;
const queues = new Map<number, Serving>();

const handlers: {
  readonly [M in MateMethod]: (params: MateMethods[M][0]) => MateMethods[M][1] | Promise<MateMethods[M][1]>;
} = {
  start: async (start) => {
    runner = await createRunner(start);
    return null;
  },
  startQueue: (shared) => {
    const adopted = adoptQueue(shared);
    queues.set(shared.setup.index, { adopted, call: shared.setup.call });
    device().startQueue(adopted.start);
    return null;
  },
  stopQueue: async (index) => {
    const base = await device().stopQueue(index);
    const serving = queues.get(index);
    queues.delete(index);
    serving?.adopted[Symbol.dispose]();
    if (serving !== undefined && serving.call >= 0) closeSync(serving.call);
    return base;
  },
  setCall: ({ index, fd }) => {
    device().setCall(index, fd);
    const serving = queues.get(index);
    const old = serving?.call ?? fd;
    if (serving !== undefined) serving.call = fd;
    if (old >= 0) closeSync(old);
    return null;
  },
  setFeatures: (features) => {
    device().setFeatures(features);
    return null;
  },
  writeConfig: ({ offset, bytes }) => {
    device().writeConfig(offset, bytes);
    return null;
  },
  reset: () => {
    device().reset();
    return null;
  },
  loadState: (bytes) => {
    device().loadState(bytes);
    return null;
  },
  reload: async ({ root, file }) => {
    await device().replace(await loadDevice(root, file));
    return null;
  },
  handle: ({ method, params }) => device().handle(method, params, []),
  report: () => ({ described: device().describe(), stats: device().stats }),
  trace: () => device().trace(),
  close: async () => {
    await device().close();
    for (const { adopted } of queues.values()) adopted[Symbol.dispose]();
    return null;
  },
};

port.on('message', ({ id, method, params }: MateRequest) => {
  void answer(id, handlers[method] as (params: unknown) => unknown, params);
});

async function answer(id: number, handler: (params: unknown) => unknown, params: unknown): Promise<void> {
  try {
    tell({ kind: 'answer', id, value: await handler(params) });
  } catch (e) {
    tell({ kind: 'refusal', id, error: toErrorRecord(e) });
  }
}

function device(): DeviceRunner {
  if (runner === undefined) throw new Error('the thread has no device yet');
  return runner;
}

async function createRunner({ id, root, file, options, fds }: MateStart): Promise<DeviceRunner> {
  const created = await DeviceRunner.create({
    id,
    device: await loadDevice(root, file),
    options,
    fds,
    io: createIoEngine(),
    log: {
      info: (message, fields) =>
        tell({ kind: 'log', level: 'info', message, ...(fields === undefined ? {} : { fields }) }),
      warn: (message, fields) =>
        tell({ kind: 'log', level: 'warn', message, ...(fields === undefined ? {} : { fields }) }),
    },
    request: async () => {
      throw errors.SDK_ERR_DEVICE({ details: { device: id, why: 'only its first thread can ask the runtime' } });
    },
  });
  created.link = {
    // All instances change alike, and the first one tells the driver.
    notifyConfigChange: () => {},
    queueBroken: (index) => tell({ kind: 'broken', index }),
    queueMended: (index) => tell({ kind: 'mended', index }),
  };
  return created;
}
