// JSON Schema in the words of a table.

/** The part of JSON Schema that zod makes of ours. */
export interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly items?: JsonSchema;
  readonly enum?: readonly string[];
  readonly const?: string | number;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
}

export function typeText(schema: JsonSchema): string {
  const { type, items, minimum, maximum, oneOf, anyOf } = schema;
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (oneOf !== undefined) return oneOf.map(objectText).join('<br>');
  if (anyOf !== undefined) return [...new Set(anyOf.map(typeText))].join(', or ');
  if (type === 'array') return `list of ${items === undefined ? 'anything' : typeText(items)}`;
  if (type === 'string') return 'text';
  if (type === 'integer') return integerText(minimum, maximum);
  if (type === 'boolean') return '`true`, `false`';
  return 'anything';
}

function integerText(minimum = 0, maximum = Number.MAX_SAFE_INTEGER): string {
  if (maximum < Number.MAX_SAFE_INTEGER) return `${minimum.toLocaleString('en')}–${maximum.toLocaleString('en')}`;
  return minimum <= 0 ? 'whole number' : `${minimum.toLocaleString('en')} or more`;
}

function objectText({ properties = {}, required = [] }: JsonSchema): string {
  const keys = Object.entries(properties).map(([key, value]) => {
    const text = value.const ?? 'whole number';
    return `${key}${required.includes(key) ? '' : '?'}: ${text}`;
  });
  return `\`{ ${keys.join(', ')} }\``;
}
