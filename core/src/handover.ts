// State on its way from the old instance of a plugin to the new one.

import { checkSchema } from './config-check.ts';
import { errors } from './core-errors.ts';
import type { AnyPlugin, Handover } from './plugin.ts';

/** A copy that shares nothing with the plugin. @throws CORE_ERR_RELOAD_STATE for what cannot be cloned */
export function makeHandover(definition: AnyPlugin, state: unknown): Handover<unknown> {
  const { name: plugin, state: spec, version } = definition;
  try {
    return { schema: spec?.schema ?? 0, state: structuredClone(state), fromVersion: version ?? '0.0.0' };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw errors.CORE_ERR_RELOAD_STATE({ plugin, cause, details: { plugin, why } });
  }
}

/**
 * What the next definition makes of it: migrated when its schema is another, and of the shape it checks for.
 * `undefined` when it takes no state. @throws CORE_ERR_RELOAD_STATE
 */
export async function receiveHandover(
  next: AnyPlugin,
  handover: Handover<unknown>,
): Promise<Handover<unknown> | undefined> {
  const { name: plugin, state: spec } = next;
  if (spec === undefined) return undefined;
  const refuse = (why: string, cause?: unknown): Error =>
    errors.CORE_ERR_RELOAD_STATE({ plugin, cause, details: { plugin, why } });
  let state = structuredClone(handover.state);
  if (spec.schema !== handover.schema) {
    if (spec.migrate === undefined) {
      throw refuse(`it is of schema ${handover.schema}, the new code takes ${spec.schema} and has no migrate()`);
    }
    try {
      state = spec.migrate(state, handover.schema);
    } catch (cause) {
      throw refuse(`migrate() refused schema ${handover.schema}`, cause);
    }
  }
  if (spec.validate !== undefined) {
    const checked = await checkSchema(spec.validate, state);
    if ('why' in checked) throw refuse(checked.why);
    state = checked.value;
  }
  return { schema: spec.schema, state, fromVersion: handover.fromVersion };
}
