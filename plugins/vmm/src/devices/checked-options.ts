// Schemas of device options, checked by hand: a device process starts in a moment and stays small, for which a schema
// library is too much.

import type { Schema, SchemaIssue } from '@runtime/core';

/** `must be …`, and whether a value is. */
export type Rule = readonly [expected: string, isRight: (value: unknown) => boolean];

export const flag: Rule = ['must be true or false', (value) => typeof value === 'boolean'];

export function wholeNumber(from: number, to: number): Rule {
  return [
    `must be a whole number from ${from} to ${to}`,
    (value) => Number.isInteger(value) && (value as number) >= from && (value as number) <= to,
  ];
}

export function oneOf(values: readonly string[]): Rule {
  return [`must be ${values.join(' or ')}`, (value) => (values as readonly unknown[]).includes(value)];
}

/**
 * All problems at once; unknown options are one.
 * @param defaults of what may be left out
 * @param together what is wrong with options that are right each for itself
 */
export function checkedOptions<O extends object>(
  device: string,
  rules: Readonly<Record<keyof O & string, Rule>>,
  defaults: Partial<O>,
  together: (options: O) => string | undefined = () => undefined,
): Schema<O> {
  const check = (given: Readonly<Record<string, unknown>>): readonly SchemaIssue[] => [
    ...Object.keys(given)
      .filter((name) => !Object.hasOwn(rules, name))
      .map((name) => ({ message: `is no option of the ${device} device`, path: [name] })),
    ...Object.entries<Rule>(rules)
      .filter(([name, [, isRight]]) => {
        const mayBeLeftOut = Object.hasOwn(defaults, name) && given[name] === undefined;
        return !mayBeLeftOut && !isRight(given[name]);
      })
      .map(([name, [expected]]) => ({ message: expected, path: [name] })),
  ];
  return {
    '~standard': {
      version: 1,
      vendor: 'runtime',
      validate(value = {}) {
        if (typeof value !== 'object' || value === null || Array.isArray(value)) {
          return { issues: [{ message: 'must be an object' }] };
        }
        const given = Object.fromEntries(Object.entries(value).filter(([, setting]) => setting !== undefined));
        const issues = check(given);
        if (issues.length > 0) return { issues };
        const options = { ...defaults, ...given } as O;
        const problem = together(options);
        return problem === undefined ? { value: options } : { issues: [{ message: problem }] };
      },
    },
  };
}
