// A runtime's process table, there to be killed: starts the children it is told to, prints their numbers, and waits.
//
// usage: process-parent STATE_DIRECTORY REQUESTS   (a JSON array of spawn requests)
//        process-parent STATE_DIRECTORY storm SECRET   (starts and stops children for ever, each with SECRET as HOME)

import { systemClock } from '../clock.ts';
import { createLogger } from '../logging.ts';
import { ProcessTable } from '../processes/process-table.ts';
import type { ManagedProcess, SpawnRequest } from '../processes/types.ts';
import { Scope } from '../scope.ts';
import { Tracer } from '../tracing.ts';
import { PLUGIN } from './process-fixture.ts';

const [stateDirectory = '', requests = '[]', secret = ''] = process.argv.slice(2);
const instance = `parent-${process.pid}`;
const table = new ProcessTable({
  instance,
  log: createLogger({ level: 'error' }),
  clock: systemClock,
  tracer: new Tracer(instance),
  emit: () => {},
  callBeforeSpawn: async (plan) => plan,
  stateDirectory,
});
const processes = table.supervisor(PLUGIN, new Scope(PLUGIN));
await table.recover();
if (requests === 'storm') await storm();
else await spawnAll(JSON.parse(requests) as readonly SpawnRequest[]);

async function spawnAll(all: readonly SpawnRequest[]): Promise<void> {
  const children: ManagedProcess[] = [];
  // Each prints one line when it has started what it starts.
  for (const request of all) children.push(await processes.spawn({ ...request, ready: { line: /./ } }));
  const answer = children.map(({ pid, log }) => ({ pid, line: log.at(-1) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  setInterval(() => {}, 1000);
}

async function storm(): Promise<void> {
  process.stdout.write('[]\n');
  for (let n = 0; ; n += 1) {
    const detached = n % 3 === 0;
    const child = await processes.spawn({
      key: `child-${n % 9}`,
      kind: 'test',
      argv: ['/bin/sh', '-c', 'sleep 600 & wait'],
      env: { HOME: secret },
      detached,
    });
    if (!detached && n % 2 === 0) void child.stop();
  }
}
