// How a device process is started.

import module from 'node:module';
import { extname, join } from 'node:path';

/** `.ts` when the sdk runs from its sources. */
const EXTENSION = extname(import.meta.filename);
/** Of the JavaScript heap, in MiB. Guest memory and I/O buffers are not in it. */
const MAX_HEAP_MIB = 192;

export interface DeviceProcess {
  readonly argv: readonly [file: string, ...args: string[]];
  readonly env: Readonly<Record<string, string>>;
}

/** Plain JavaScript, in sources as in a package. */
const LAUNCHER = join(import.meta.dirname, '../../../bin/device-host.cjs');

/**
 * The process reads its control socket from descriptor 3.
 * @param id for people who look at a list of processes
 * @param compiled a program made by CompiledHosts; left out: the modules
 */
export function deviceProcess(id: string, compiled?: string): DeviceProcess {
  const program = join(import.meta.dirname, `host-main${EXTENSION}`);
  const cache = module.getCompileCacheDir();
  return {
    argv: [
      process.execPath,
      ...(EXTENSION === '.ts' ? ['--conditions=@runtime/source'] : []),
      '--expose-gc',
      '--v8-pool-size=1',
      `--max-old-space-size=${MAX_HEAP_MIB}`,
      ...(compiled === undefined ? [program, id] : [LAUNCHER, id, compiled, program]),
    ],
    // libuv needs none of its threads here but for a module loaded anew.
    env: {
      UV_THREADPOOL_SIZE: '1',
      MALLOC_ARENA_MAX: '1',
      ...(cache === undefined ? {} : { NODE_COMPILE_CACHE: cache }),
    },
  };
}
