// docs/reference/template.md: every key of a template of a VM.

import { templateJsonSchema } from '../../plugins/crostini/src/template/json-schema.ts';
import type { JsonSchema } from './json-schema.ts';
import { part, row } from './schema-tables.ts';

const INTRODUCTION = `What \`runtime start NAME --template FILE\` takes, in YAML or JSON. Unknown keys are refused, with the nearest one that exists.
[Templates of VMs](../guides/templates.md) says how it is used; [template-schema.json](template-schema.json) is all of this as JSON
Schema, for editors.`;

export function templatePage(): string {
  const keys = Object.entries((templateJsonSchema() as JsonSchema).properties ?? {});
  return [
    '# Template of a VM',
    '',
    INTRODUCTION,
    '',
    '## Keys',
    '',
    '| key | value | | meaning |',
    '|---|---|---|---|',
    ...keys.map(([key, child]) => row(key, child, '')),
    ...keys.flatMap(([key, child]) => part(key, child)),
  ].join('\n');
}
