// npm run docs: writes the pages of docs/reference that are made from the code. A test fails while they differ.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { templateJsonSchema } from '../plugins/crostini/src/template/json-schema.ts';
import { descriptionJsonSchema } from '../plugins/vmm/src/description/json-schema.ts';
import { makePages, REFERENCE } from './reference/pages.ts';

mkdirSync(REFERENCE, { recursive: true });
for (const [name, text] of await makePages()) {
  writeFileSync(join(REFERENCE, name), text);
  console.log(`docs/reference/${name}`);
}
const schemas = { 'vm-schema.json': descriptionJsonSchema(), 'template-schema.json': templateJsonSchema() };
for (const [name, schema] of Object.entries(schemas)) {
  writeFileSync(join(REFERENCE, name), `${JSON.stringify(schema, undefined, 2)}\n`);
  console.log(`docs/reference/${name}`);
}
