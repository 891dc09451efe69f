// docs/reference/{hooks,services,pools}.md: every token that a package exports.

import type { HookKind, HookToken, PoolSpec, PoolToken, ServiceToken } from '@runtime/core';
import { bracketed, docBefore, linkTo, readSources, type SourceFile, splitOutside } from './source-text.ts';

interface Found<T> {
  readonly token: T;
  readonly doc: string;
  /** The text from the name of the constant on. */
  readonly code: string;
  readonly source: SourceFile;
}

type AnyHook = HookToken<HookKind, readonly unknown[], unknown>;

/** File name and text of each page; without text where there is no such token yet. */
export async function tokenPages(): Promise<readonly (readonly [string, string | undefined])[]> {
  const [hooks, services, pools] = [
    await findTokens<AnyHook>('Hook'),
    await findTokens<ServiceToken<object>>('Service'),
    [...(await findTokens<PoolToken>('Pool')), ...(await findPoolFactories())],
  ];
  return [
    ['hooks.md', page('Hooks', HOOKS, hooks, describeHook)],
    ['services.md', page('Services', SERVICES, services, describeService)],
    ['pools.md', page('Pools', POOLS, pools, describePool)],
  ];
}

const HOOKS = `Questions before something happens: \`ctx.hooks.tap(token, fn, { stage, before, after, timeoutMs })\`. What a tap
answers, and what becomes of it, depends on the kind:

| kind | taps run | an answer |
|---|---|---|
| \`series\` | one after the other | is not used; a failure ends the call |
| \`parallel\` | all at once | is not used; all failures are collected |
| \`bail\` | one after the other | ends the call, and is its result |
| \`waterfall\` | one after the other | takes the place of the first argument |
| \`sync\`, \`sync-bail\` | like series and bail, without promises | the same |

\`undefined\` is always "no opinion". \`runtime inspect hooks\` shows who has tapped what, in order.`;

const SERVICES = `Capabilities to call: \`requires: { name: token }\` in \`definePlugin\`, then \`ctx.services.name\`. One plugin provides each;
the configuration names the winner where several could. See [Replace a service](../guides/replace-a-service.md).`;

const POOLS = `What only one may hold: \`ctx.resources.lease(token, { key })\`. Bounds are configuration (\`pools.<id>\`).
\`runtime inspect leases\` shows who holds what.`;

const DECLARATION = /^export const (\w+)\b[^=]*=\s+define(Hook|Service|Pool)\b/gm;
/** A pool for each of something: `pciSlots(vm)`. */
const FACTORY = /^export function (\w+)\((\w+): string\): PoolToken/gm;

async function findTokens<T>(kind: 'Hook' | 'Service' | 'Pool'): Promise<readonly Found<T>[]> {
  const found: Found<T>[] = [];
  for (const source of readSources()) {
    for (const match of source.text.matchAll(DECLARATION)) {
      if (match[2] !== kind) continue;
      const name = match[1] ?? '';
      const doc = docBefore(source.text, match.index);
      if (doc === undefined) throw new Error(`${source.path}: ${name} has no doc comment`);
      const module = (await import(source.path)) as Readonly<Record<string, T>>;
      const token = module[name];
      if (token === undefined) throw new Error(`${source.path} does not export ${name}`);
      found.push({ token, doc, code: source.text.slice(match.index), source });
    }
  }
  return found;
}

/** Their tokens, for something that is called as the parameter is. */
async function findPoolFactories(): Promise<readonly Found<PoolToken>[]> {
  const found: Found<PoolToken>[] = [];
  for (const source of readSources()) {
    for (const match of source.text.matchAll(FACTORY)) {
      const [, name = '', parameter = ''] = match;
      const doc = docBefore(source.text, match.index);
      if (doc === undefined) throw new Error(`${source.path}: ${name} has no doc comment`);
      const module = (await import(source.path)) as Readonly<Record<string, (of: string) => PoolToken>>;
      const token = module[name]?.(`<${parameter}>`);
      if (token === undefined) throw new Error(`${source.path} does not export ${name}`);
      found.push({ token, doc, code: source.text.slice(match.index), source });
    }
  }
  return found;
}

function page<T extends { readonly id: string; readonly version: string }>(
  title: string,
  introduction: string,
  tokens: readonly Found<T>[],
  describe: (found: Found<T>) => readonly string[],
): string | undefined {
  if (tokens.length === 0) return undefined;
  const sorted = [...tokens].sort((a, b) => (a.token.id < b.token.id ? -1 : 1));
  return [
    `# ${title}`,
    '',
    introduction,
    ...sorted.flatMap((found) => [
      '',
      `## ${found.token.id}`,
      '',
      found.doc,
      '',
      ...describe(found),
      '',
      `Contract version ${found.token.version}. \`${found.source.package}\`, ${linkTo(found.source.path)}`,
    ]),
  ].join('\n');
}

function describeHook({ token, code }: Found<AnyHook>): readonly string[] {
  const types = bracketed(code, code.indexOf('<', code.indexOf('defineHook')));
  const [args = '', answer = 'void'] = splitOutside(types, ',');
  const inside = args.replace(/^readonly /, '').replace(/^\[|\]$/g, '');
  const opinion = answer === 'void' ? 'void' : `${answer} | undefined`;
  const isSync = token.hookKind === 'sync' || token.hookKind === 'sync-bail';
  const result = isSync ? opinion : `${opinion} | Promise<${opinion}>`;
  return [`Kind \`${token.hookKind}\`.`, '', '```ts', `(${inside}) => ${result}`, '```'];
}

function describeService({ token, code }: Found<ServiceToken<object>>): readonly string[] {
  const type = bracketed(code, code.indexOf('<', code.indexOf('defineService')));
  const reload =
    token.rebind === 'live'
      ? 'Consumers keep their handle while the provider is reloaded.'
      : 'Consumers are restarted with the provider.';
  return [`\`${type}\`. ${reload}`];
}

function describePool({ token, code }: Found<PoolToken>): readonly string[] {
  const { kind, ...bounds }: PoolSpec = token.spec;
  const written = bracketed(code, code.indexOf('{', code.indexOf('definePool')));
  const facts = Object.entries(bounds)
    // A bound that depends on the machine is no part of a page that is the same everywhere.
    .filter(([name]) => new RegExp(`\\b${name}: [\\w]+n\\b`).test(written))
    .map(([name, value]) => `${name} ${value}`);
  return [`\`${kind}\`${facts.length === 0 ? '' : `: ${facts.join(', ')}`}`];
}
