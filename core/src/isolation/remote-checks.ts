// Checks that run a plugin's own schemas, away from the runtime.

import { checkSchema } from '../config-check.ts';
import { receiveHandover } from '../handover.ts';
import type { AnyPlugin } from '../plugin.ts';
import type { ReceivedState, Validation } from './messages.ts';

export async function checkRemoteConfig({ config }: AnyPlugin, value: unknown): Promise<Validation> {
  if (config === undefined) return { issues: [] };
  const checked = await checkSchema(config, value);
  return { issues: 'why' in checked ? [{ message: checked.why }] : [] };
}

/** @throws CORE_ERR_RELOAD_STATE */
export async function receiveState(plugin: AnyPlugin, state: unknown, schema: number): Promise<ReceivedState> {
  const received = await receiveHandover(plugin, { schema, state, fromVersion: plugin.version ?? '0.0.0' });
  return { issues: [], state: received?.state };
}
