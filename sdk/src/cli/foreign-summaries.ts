// Names and summaries of the commands that plugins add, for help: from manifests, and from the running runtime.

import type { CommandSpec } from '@runtime/core';
import { connect } from '@runtime/core/control';
import { listPlugins } from '@runtime/core/loader';
import { pluginPlaces } from './places.ts';
import type { Environment } from './xdg.ts';

type Summary = Pick<CommandSpec, 'name' | 'summary'>;

/** Somebody waits for a page of help. */
const TIMEOUTS = { connectMs: 300, requestMs: 500 };

/** Never throws: help must work when nothing else does. */
export async function foreignSummaries(env: Environment, cwd: string): Promise<readonly Summary[]> {
  const found = new Map<string, Summary>();
  try {
    await using client = await connect({ env, name: env.RUNTIME_NAME || 'default', timeouts: TIMEOUTS });
    for (const { name, summary } of await client.request('commands.list', {})) found.set(name, { name, summary });
  } catch {
    // No runtime runs, or it does not answer.
  }
  try {
    for (const { manifest } of listPlugins(pluginPlaces(env, cwd)).plugins) {
      for (const { name, summary } of manifest.commands) if (!found.has(name)) found.set(name, { name, summary });
    }
  } catch {
    // A folder that may not be read.
  }
  return [...found.values()].toSorted((a, b) => a.name.localeCompare(b.name));
}
