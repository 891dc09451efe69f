// The plugin `lab` as a loader finds it, and a plugin that provides what it requires.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errors } from '../../core-errors.ts';
import { parseManifest } from '../../loader/manifest.ts';
import type { FoundPlugin } from '../../loader/types.ts';
import { type AnyPlugin, definePlugin } from '../../plugin.ts';
import { tools } from './contract.ts';

export function foundLab(): FoundPlugin {
  return foundAt(import.meta.dirname, 'index.ts');
}

export function foundAt(directory: string, entry: string): FoundPlugin {
  const file = join(directory, 'package.json');
  const { manifest } = parseManifest(readFileSync(file, 'utf8'), file);
  return { manifest, directory, entry: join(directory, entry), origin: 'path', builtIn: true };
}

export const toolbox: AnyPlugin = definePlugin({
  name: 'toolbox',
  provides: [tools],
  setup(ctx) {
    ctx.provide(tools, {
      double: async (n) => n * 2n,
      fail: async () => {
        throw errors.CORE_ERR_PERMISSION({ details: { who: 'nobody', what: 'do that' } });
      },
      caller: async () => ctx.caller(),
    });
  },
}) as AnyPlugin;
