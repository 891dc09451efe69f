// Data for people and programs has keys as options have names: words joined by "-".

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Of a record, and of all records within. */
export function dashedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(dashedKeys);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [dashed(key), dashedKeys(inner)]));
}

function dashed(key: string): string {
  return key.replace(/[a-z0-9](?=[A-Z])/g, '$&-').toLowerCase();
}
