// docs/reference/vm.md: every key that a VM can be described by, and the option of `runtime vm run` for it.

import { RUN_SPEC } from '../../plugins/vmm/src/cli/run-options.ts';
import { descriptionJsonSchema } from '../../plugins/vmm/src/description/json-schema.ts';
import { flagOf } from '../../sdk/src/cli/parse.ts';
import type { JsonSchema } from './json-schema.ts';
import { part, row } from './schema-tables.ts';

/** Options that are not called as their key is. */
const OPTIONS: Readonly<Record<string, string>> = { share: 'sharedDir' };
/** Of each key whose value has keys of its own: the one whose name may be left out in an option. */
const FIRST: Readonly<Record<string, string>> = {
  block: 'path',
  net: 'backend',
  vsock: 'cid',
  share: 'path',
  device: 'kind',
};

const INTRODUCTION = `What \`runtime vm start my-vm.yaml\` takes, in YAML or JSON, and \`runtime vm run\` as options. Unknown keys are refused,
with the nearest one that exists. Relative paths are meant from the file, or from the current folder.

\`\`\`yaml
# yaml-language-server: $schema=vm-schema.json
mem: 2G
cpus: 2
block:
  - path: disk.qcow2
  - { path: tools.img, ro: true }
net:
  - backend: passt
vsock: { cid: 40 }
\`\`\`

is the same as

\`\`\`sh
runtime --plugins vmm vm run --mem 2G --cpus 2 --block disk.qcow2 --block tools.img,ro --net passt --vsock 40
\`\`\`

[vm-schema.json](vm-schema.json) is all of this as JSON Schema, for editors. [Run a VM](../guides/run-a-vm.md) says how it is
used, [devices](devices.md) what each device can do.

In an option, keys and values of a device stand side by side: \`key=value,flag,list=[a,b]\`. The first key may be left out.
A value with commas stands in quotes. An option for a list may be given several times.`;

export function vmPage(): string {
  const schema = descriptionJsonSchema() as JsonSchema;
  const keys = Object.entries(schema.properties ?? {});
  const missing = Object.keys(RUN_SPEC.options).filter((option) => !keys.some(([key]) => optionOf(key) === option));
  if (missing.length > 0) throw new Error(`vm run has options without a key: ${missing.join(', ')}`);
  return [
    '# Description of a VM',
    '',
    INTRODUCTION,
    '',
    '## Keys',
    '',
    '| key | value | option of `vm run` | meaning |',
    '|---|---|---|---|',
    ...keys.map(([key, child]) => row(key, child, optionText(key))),
    ...keys.flatMap(([key, child]) => part(key, child, FIRST[key])),
  ].join('\n');
}

function optionOf(key: string): string {
  return OPTIONS[key] ?? key;
}

function optionText(key: string): string {
  if (key === 'kernel') return 'the argument';
  const option = optionOf(key);
  return option in RUN_SPEC.options ? `\`--${flagOf(option)}\`` : '–';
}
