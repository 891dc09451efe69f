// Keys of a JSON schema as tables.

import { type JsonSchema, typeText } from './json-schema.ts';

/** The keys of what stands under a key, where it has any. @param first the one whose name may be left out in an option */
export function part(key: string, schema: JsonSchema, first?: string): readonly string[] {
  const inner = objectIn(schema);
  if (inner?.properties === undefined) return [];
  const { properties, required = [], description = '', additionalProperties } = inner;
  return [
    '',
    `## ${key}`,
    '',
    `${description}${additionalProperties === false ? '' : ' It may have any other key.'}`,
    '',
    '| key | value | needed | meaning |',
    '|---|---|---|---|',
    ...Object.entries(properties).map(([name, child]) =>
      row(
        name,
        child,
        [required.includes(name) ? 'yes' : '', first === name ? 'first' : ''].filter(Boolean).join(', '),
      ),
    ),
  ];
}

function objectIn(schema: JsonSchema): JsonSchema | undefined {
  return [schema, schema.items, ...(schema.anyOf ?? [])].find((one) => one?.properties !== undefined);
}

export function row(key: string, schema: JsonSchema, third: string): string {
  return `| \`${key}\` | ${valueText(key, schema)} | ${third} | ${schema.description ?? ''} |`;
}

function valueText(key: string, schema: JsonSchema): string {
  const inner = objectIn(schema);
  if (inner === undefined) return typeText(schema);
  const link = `[${key}](#${key})`;
  if (schema.items !== undefined) return `list of ${link}`;
  const others = (schema.anyOf ?? []).filter((one) => one !== inner).map(typeText);
  return [...others, link].join(' or ');
}
