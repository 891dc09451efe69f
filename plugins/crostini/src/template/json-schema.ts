// The published JSON schema of a template, which editors check YAML files by.

import { z } from 'zod';
import { templateSchema } from './schema.ts';

export function templateJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...schema } = z.toJSONSchema(templateSchema, { io: 'input' });
  return { $schema, title: 'Template of a VM of runtime', ...schema };
}
