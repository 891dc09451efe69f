// The published JSON schema of a description, which editors check YAML files by.

import { z } from 'zod';
import { descriptionSchema } from './schema.ts';

export function descriptionJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...schema } = z.toJSONSchema(descriptionSchema, { io: 'input' });
  return { $schema, title: 'Virtual machine of runtime', ...schema };
}
