// What plugins add to the command line and to the configuration: `src/cli/index.ts` adds its commands by `addCommands`,
// `src/config.ts` exports the schema of its settings.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandRegistry, CommandSpec } from '@runtime/core';
import type { z } from 'zod';
import { ROOT } from './source-text.ts';

export interface PluginParts {
  /** As it is named in the configuration. */
  readonly plugin: string;
  readonly commands: readonly CommandSpec[];
  /** `undefined`: it has no settings. */
  readonly config: z.ZodObject | undefined;
}

export async function readPlugins(): Promise<readonly PluginParts[]> {
  const folders = readdirSync(join(ROOT, 'plugins')).filter((name) =>
    existsSync(join(ROOT, 'plugins', name, 'package.json')),
  );
  return Promise.all(folders.sort().map((name) => readPlugin(join(ROOT, 'plugins', name))));
}

async function readPlugin(folder: string): Promise<PluginParts> {
  const { runtime } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    readonly runtime: { readonly plugin: string };
  };
  const cli = await moduleAt(join(folder, 'src/cli/index.ts'));
  const config = await moduleAt(join(folder, 'src/config.ts'));
  const schema = Object.entries(config).find(([name]) => name.endsWith('Config'))?.[1];
  return { plugin: runtime.plugin, commands: commandsOf(cli.addCommands), config: schema as z.ZodObject | undefined };
}

async function moduleAt(path: string): Promise<Readonly<Record<string, unknown>>> {
  return existsSync(path) ? ((await import(path)) as Readonly<Record<string, unknown>>) : {};
}

/** Nothing but the specs is looked at: what the commands would work with is not there. */
function commandsOf(addCommands: unknown): readonly CommandSpec[] {
  const specs: CommandSpec[] = [];
  const registry: CommandRegistry = {
    add(spec) {
      specs.push(spec);
      return { [Symbol.dispose]() {} };
    },
  };
  if (typeof addCommands === 'function') addCommands(registry);
  return specs;
}
