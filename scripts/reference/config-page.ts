// docs/reference/config.md: every key of the configuration, from its schema.

import { z } from 'zod';
import { CONFIG_VARIABLES } from '../../sdk/src/cli/config/layers.ts';
import { CONFIG_DEFAULTS, layerSchema } from '../../sdk/src/cli/config/schema.ts';
import { type JsonSchema, typeText } from './json-schema.ts';
import type { PluginParts } from './plugin-parts.ts';

/** How the name in `settings.<name>` is called. */
const PLACEHOLDERS: Readonly<Record<string, string>> = { settings: 'plugin', services: 'service', pools: 'pool' };

export function configPage(plugins: readonly PluginParts[]): string {
  const schema = z.toJSONSchema(layerSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  return `# Configuration

Later ones win, key by key:

1. what is built in,
2. \`$XDG_CONFIG_HOME/runtime/config.yaml\`,
3. \`runtime.config.yaml\` in the working folder or the nearest folder above it,
4. environment variables,
5. the command line.

\`--config FILE\` or \`RUNTIME_CONFIG\` is read in place of 2 and 3. Relative paths of plugins are meant from the file that
names them. Unknown keys are refused, with the nearest one that exists. A file that others may write is refused, since it
names code to run. \`runtime config show\` says where each value comes from, \`runtime config check\` finds mistakes with file
and line.

\`\`\`yaml
plugins: [./my-plugin, '@somebody/runtime-metrics']
settings:
  my-plugin:
    config: { greeting: Hi }
  metrics:
    isolation: process
    onFailure: continue
services:
  greeter: my-plugin
\`\`\`

## Keys

| key | value | default | meaning |
|---|---|---|---|
${rows(schema, [], CONFIG_DEFAULTS).join('\n')}

Whole numbers of pools are decimal, or text: \`'0x100000000'\` is exact where YAML's own numbers are not.
${plugins.map(settingsOf).join('')}
## Environment

| variable | key | value |
|---|---|---|
${Object.entries(CONFIG_VARIABLES)
  .map(([variable, { path, summary }]) => `| \`${variable}\` | \`${path.join('.')}\` | ${summary} |`)
  .join('\n')}
| \`RUNTIME_CONFIG\` | – | path of the only file that is read |
| \`RUNTIME_NAME\` | – | which runtime is meant, when several run |
`;
}

function settingsOf({ plugin, config }: PluginParts): string {
  if (config === undefined) return '';
  const schema = z.toJSONSchema(config, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  return `
## Settings of ${plugin}

Under \`settings.${plugin}.config\`:

| key | value | default | meaning |
|---|---|---|---|
${rows(schema, [], config.parse({})).join('\n')}
`;
}

function rows(schema: JsonSchema, path: readonly string[], defaults: unknown): readonly string[] {
  const children = Object.entries(schema.properties ?? {}).map(([key, child]) => [key, child] as const);
  const { additionalProperties: named } = schema;
  if (typeof named === 'object') children.push([`<${PLACEHOLDERS[path.at(-1) ?? ''] ?? 'name'}>`, named]);
  return children.flatMap(([key, child]) => {
    const at = [...path, key];
    const isGroup = child.properties !== undefined || typeof child.additionalProperties === 'object';
    const own = isGroup && child.description === undefined ? [] : [row(child, at, isGroup, defaults)];
    return [...own, ...rows(child, at, defaults)];
  });
}

function row(schema: JsonSchema, path: readonly string[], isGroup: boolean, defaults: unknown): string {
  const fallback = defaultOf(path, defaults);
  const shown = isGroup || fallback === undefined ? '' : `\`${JSON.stringify(fallback)}\``;
  return `| \`${path.join('.')}\` | ${isGroup ? '' : typeText(schema)} | ${shown} | ${schema.description ?? ''} |`;
}

function defaultOf(path: readonly string[], defaults: unknown): unknown {
  let at = defaults;
  for (const key of path) at = (at as Readonly<Record<string, unknown>> | undefined)?.[key];
  return at;
}
