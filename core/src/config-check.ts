// A plugin's configuration, checked by its own schema.

import { errors } from './core-errors.ts';
import { isRuntimeError, type RuntimeError } from './errors.ts';
import type { AnyPlugin, Schema } from './plugin.ts';
import { explainStandardIssues, issuesToText } from './schema-issues.ts';

export type Checked<T> = { readonly value: T } | { readonly why: string };

/** Runs a Standard Schema; what it throws counts as a refusal. */
export async function checkSchema<T>(schema: Schema<T>, value: unknown): Promise<Checked<T>> {
  try {
    const result = await schema['~standard'].validate(value);
    if (result.issues === undefined) return { value: result.value };
    return { why: issuesToText(explainStandardIssues(schema, result.issues)) };
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error) };
  }
}

/** @returns the parsed configuration, or CORE_ERR_CONFIG */
export async function checkConfig(
  definition: AnyPlugin,
  raw: unknown,
): Promise<{ readonly config: unknown } | RuntimeError> {
  const { name: plugin, config: schema } = definition;
  const refuse = (why: string): RuntimeError => errors.CORE_ERR_CONFIG({ plugin, details: { plugin, why } });
  // A plugin whose settings all have defaults needs no entry in the file, or an empty one.
  const given = raw ?? {};
  if (schema === undefined) {
    const isEmpty = typeof given === 'object' && Object.keys(given).length === 0;
    return isEmpty ? { config: undefined } : refuse('it takes none');
  }
  const checked = await checkSchema(schema, given);
  return 'why' in checked ? refuse(checked.why) : { config: checked.value };
}

export function isProblem(result: { readonly config: unknown } | RuntimeError): result is RuntimeError {
  return isRuntimeError(result);
}
