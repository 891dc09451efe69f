// A runtime with the plugin `lab` in its own process; prints the pid of that process, and spins it when told to.

import { createLogger } from '../../logging.ts';
import { createRuntime } from '../../runtime.ts';
import { lab } from './contract.ts';
import { foundLab, toolbox } from './found.ts';

const runtime = createRuntime({ log: createLogger({ level: 'silent' }) })
  .use(toolbox)
  .use(foundLab(), { isolation: 'process' });
await runtime.start();
const handle = runtime.get(lab);
const pid = await handle.pid();
if (process.argv[2] === 'spin') handle.spin().catch(() => {});
console.log(pid);
setInterval(() => {}, 1000);
