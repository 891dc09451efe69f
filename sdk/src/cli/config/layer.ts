// One layer of the configuration: a file, the environment or the command line.

import { explainIssues, formatPath } from '@runtime/core';
import { errors } from '../../errors.ts';
import { type ConfigLayer, layerSchema } from './schema.ts';

export type Path = readonly (string | number)[];

export interface Layer {
  readonly value: ConfigLayer;
  /** Where the value at `path` comes from: `file:line`, a variable or an option. */
  origin(path: Path): string;
}

export interface RawLayer {
  readonly value: unknown;
  /** For errors, as exact as can be. @param atKey of the key rather than of its value */
  where(path: Path, atKey: boolean): string;
  origin(path: Path): string;
}

/** @throws SDK_ERR_CONFIG, SDK_ERR_CONFIG_MANY */
export function checkLayer(raw: RawLayer): Layer {
  const parsed = layerSchema.safeParse(raw.value);
  if (parsed.success) return { value: parsed.data, origin: (path) => raw.origin(path) };
  const problems = explainIssues(layerSchema, parsed.error).map(({ path, message, unknownKey }) => {
    const where = raw.where(path, unknownKey);
    const why = unknownKey || path.length === 0 ? message : `${formatPath(path)}: ${message}`;
    return { where, error: errors.SDK_ERR_CONFIG({ details: { where, why } }) };
  });
  // As one reads a file: from top to bottom.
  const inOrder = problems.toSorted((a, b) => a.where.localeCompare(b.where, 'en', { numeric: true }));
  throw severalProblems(inOrder.map(({ error }) => error));
}

/** One as itself, several under SDK_ERR_CONFIG_MANY. */
export function severalProblems(problems: readonly Error[]): Error {
  const [only] = problems;
  if (problems.length === 1 && only !== undefined) return only;
  const cause = new AggregateError(problems, 'mistakes in the configuration');
  return errors.SDK_ERR_CONFIG_MANY({ cause, details: { count: problems.length } });
}
