// Where compiled devices are kept, and who compiles them.

import module from 'node:module';
import { join } from 'node:path';
import type { ProcessSupervisor } from '@runtime/sdk';
import { CompiledHosts } from '@runtime/sdk/virtio';

/** Beside the other code that was compiled for this version of Node; `undefined` where the runtime keeps none. */
export function compiledDevices(processes: ProcessSupervisor): CompiledHosts | undefined {
  const cache = module.getCompileCacheDir();
  if (cache === undefined) return undefined;
  let runs = 0;
  return new CompiledHosts({
    folder: join(cache, 'devices'),
    async run(argv) {
      runs += 1;
      const child = await processes.spawn({
        key: `compile-${runs}`,
        kind: 'compiler',
        argv,
        env: { NODE_COMPILE_CACHE: cache },
      });
      const { code } = await child.exited;
      if (code !== 0) throw new Error(child.log.at(-1) ?? 'the compiler said nothing');
    },
  });
}
