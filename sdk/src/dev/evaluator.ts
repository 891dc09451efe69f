// Runs modules for the development loader: plugins get the core and the sdk of the running runtime, whatever copies lie
// in their own node_modules, and a name that a module does not export is an error, as it is in Node.

import type { ModuleEvaluator, ModuleRunnerContext } from 'vite/module-runner';
import { findImport, placeOfWord, sourceError } from './load-error.ts';

/** Packages that a process has once. A second core would have registries of its own, and know none of the plugins. */
export const OWN_PACKAGES: readonly string[] = ['@runtime/core', '@runtime/sdk'];

/** Scheme under which they pass through the bundler; it must look like that of a URL for Vite to leave it alone. */
const SCHEME = 'runtime://';

export function isOwn(specifier: string): boolean {
  return OWN_PACKAGES.some((name) => specifier === name || specifier.startsWith(`${name}/`));
}

/** The specifier as the bundler is to see it. */
export function ownUrl(specifier: string): string {
  return SCHEME + specifier;
}

interface ImportMetadata {
  readonly importedNames?: readonly string[];
}
type Import = (specifier: string, metadata?: ImportMetadata) => Promise<object>;

// The names under which Vite hands these to the code it transformed.
const IMPORT = '__vite_ssr_import__';
const DYNAMIC_IMPORT = '__vite_ssr_dynamic_import__';
const IMPORT_META = '__vite_ssr_import_meta__';

/** @param base Vite's own evaluator */
export function createEvaluator(base: ModuleEvaluator): ModuleEvaluator {
  return {
    ...(base.startOffset === undefined ? {} : { startOffset: base.startOffset }),
    runInlinedModule(context, code, module) {
      const file = context[IMPORT_META].filename as string;
      const importModule = context[IMPORT] as Import;
      const importDynamically = context[DYNAMIC_IMPORT];
      const wrapped: ModuleRunnerContext = {
        ...context,
        [IMPORT]: async (specifier: string, metadata?: ImportMetadata) => {
          const exports = await importModule(specifier, metadata);
          checkNames(file, specifier, exports, metadata?.importedNames ?? []);
          return exports;
        },
        // Of what is no literal the bundler learns only now.
        [DYNAMIC_IMPORT]: (specifier: unknown) =>
          importDynamically(isOwn(String(specifier)) ? ownUrl(String(specifier)) : (specifier as string)),
      };
      return base.runInlinedModule(wrapped, code, module);
    },
    runExternalModule(url) {
      return url.startsWith(SCHEME) ? import(url.slice(SCHEME.length)) : base.runExternalModule(url);
    },
  };
}

/** The module runner would give `undefined`, and the plugin would fail only later, and elsewhere than in production. */
function checkNames(file: string, specifier: string, exports: object, names: readonly string[]): void {
  // In a circle of imports it is not complete yet.
  if (names.length === 0 || !Object.isSealed(exports)) return;
  const missing = names.find((name) => !(name in exports));
  if (missing === undefined) return;
  const from = specifier.startsWith(SCHEME) ? specifier.slice(SCHEME.length) : findImport(file, specifier).name;
  throw sourceError(placeOfWord(file, missing), `"${from}" does not export "${missing}"`);
}
