// The command line of a process that runs a plugin.

import { extname, join } from 'node:path';
import type { HostLimits } from './limits.ts';

/** `.ts` when the core runs from its sources. */
const EXTENSION = extname(import.meta.filename);

export function hostArgv(plugin: string, limits: HostLimits): readonly [file: string, ...args: string[]] {
  return [
    process.execPath,
    ...(EXTENSION === '.ts' ? ['--conditions=@runtime/source'] : []),
    `--max-old-space-size=${limits.memoryMb}`,
    join(import.meta.dirname, `host-main${EXTENSION}`),
    // For people who look at a list of processes.
    plugin,
  ];
}
