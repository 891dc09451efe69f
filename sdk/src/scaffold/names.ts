// What a new plugin is called: its folder, its package, and itself.

import { builtinModules } from 'node:module';
import { basename, dirname, resolve } from 'node:path';
import { PLUGIN_NAME } from '@runtime/core/loader';
import { errors } from '../errors.ts';

export interface PluginNames {
  /** Absolute. */
  readonly folder: string;
  /** With its scope, if any: `@acme/hello-world` */
  readonly package: string;
  /** `hello-world` */
  readonly plugin: string;
}

/** Owners of what is no plugin's, in reports and traces. */
const TAKEN: ReadonlySet<string> = new Set(['core', 'runtime', 'sdk']);
/** https://docs.npmjs.com/cli/configuring-npm/package-json#name */
const MAX_PACKAGE_NAME = 214;
const SCOPED = /^(@[^/]+)\/([^/]+)$/;
const SCOPE = /^@[a-z0-9][a-z0-9._-]*$/;

/**
 * @param target a folder, whose last part is the name; or a package name with a scope, which is no part of the folder
 * @throws SDK_ERR_PLUGIN_NAME
 */
export function parseNames(target: string, cwd: string): PluginNames {
  const [, scope, bare] = SCOPED.exec(target) ?? [];
  const folder = resolve(cwd, bare ?? target);
  const plugin = basename(folder);
  // Also for `packages/@acme/hello`.
  const parent = basename(dirname(folder));
  const scoped = scope ?? (parent.startsWith('@') ? parent : undefined);
  const names = { folder, plugin, package: scoped === undefined ? plugin : `${scoped}/${plugin}` };
  const why = whyNot(names, scoped);
  if (why === undefined) return names;
  throw errors.SDK_ERR_PLUGIN_NAME({ details: { name: plugin, why, suggestion: suggest(plugin) } });
}

function whyNot(names: PluginNames, scope: string | undefined): string | undefined {
  const { plugin } = names;
  if (!PLUGIN_NAME.test(plugin)) return 'it is not lower case, words joined by "-", of at most 64 letters';
  if (TAKEN.has(plugin)) return 'it is the name of a part of the runtime';
  if (scope === undefined && builtinModules.includes(plugin)) return 'it is the name of a module of Node';
  if (scope !== undefined && !SCOPE.test(scope)) return `"${scope}" is not a scope such as "@acme"`;
  if (names.package.length > MAX_PACKAGE_NAME) return `a package name has at most ${MAX_PACKAGE_NAME} letters`;
  return undefined;
}

/** The nearest name that would do. */
function suggest(name: string): string {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 64);
  const isFree = /^[a-z]/.test(words) && !TAKEN.has(words) && !builtinModules.includes(words);
  const candidate = isFree ? words : `my-${words}`;
  return PLUGIN_NAME.test(candidate) ? candidate : 'my-plugin';
}

/** `hello-world` → `helloWorld` */
export function camelCase(kebab: string): string {
  return kebab.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `hello-world` → `HelloWorld` */
export function pascalCase(kebab: string): string {
  const camel = camelCase(kebab);
  return camel.charAt(0).toUpperCase() + camel.slice(1);
}
