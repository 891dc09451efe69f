// Where this installation looks for plugins.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Places } from '@runtime/core/loader';
import { dataFolder, type Environment } from './xdg.ts';

/** Of @runtime/sdk. */
export const PACKAGE_ROOT: string = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export function pluginPlaces(env: Environment, cwd: string): Places {
  const plugins = join(dirname(PACKAGE_ROOT), 'plugins');
  // A published package has no sources, and what lies beside it is not ours.
  const inCheckout = existsSync(join(PACKAGE_ROOT, 'src')) && existsSync(plugins);
  return {
    cwd,
    runtime: { folders: inCheckout ? [plugins] : [], packages: [join(PACKAGE_ROOT, 'package.json')] },
    user: join(dataFolder(env), 'plugins'),
  };
}
