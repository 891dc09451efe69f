// The manifest of a plugin: the key "runtime" of its package.json. Reading it runs none of the plugin's code.

import { readFileSync, statSync } from 'node:fs';
import semverVersion from 'semver/functions/valid.js';
import semverRange from 'semver/ranges/valid.js';
import { z } from 'zod';
import { errors } from '../core-errors.ts';
import type { RuntimeError } from '../errors.ts';
import { explainIssues, issuesToText } from '../schema-issues.ts';
import type { PluginManifest } from './types.ts';

/** Bytes; a package.json that is larger is refused unread. */
export const MANIFEST_LIMIT: number = 256 * 1024;

/** Names of plugins: kebab-case, at most 64 letters. */
export const PLUGIN_NAME: RegExp = /^(?=.{1,64}$)[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;

const version = z
  .string()
  .max(64)
  .refine((v) => semverVersion(v) !== null, 'not a semver version such as "1.0.0"');
const range = z
  .string()
  .max(256)
  .refine((v) => semverRange(v) !== null, 'not a semver range such as "^1.0.0"');
const serviceId = z.string().min(1).max(128);
const inside = z
  .string()
  .max(512)
  .refine(
    (v) => v.startsWith('./') && !v.split('/').includes('..'),
    'not a path inside the package such as "./src/index.ts"',
  );

const runtimeKey = z.strictObject({
  plugin: z.string().regex(PLUGIN_NAME, 'not a plugin name: lower case, words joined by "-", at most 64 letters'),
  core: range,
  source: inside.optional(),
  provides: z.record(serviceId, version).default({}),
  requires: z
    .record(serviceId, z.union([range, z.strictObject({ range, optional: z.boolean().default(false) })]))
    .default({}),
  commands: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^(?=.{1,64}$)[a-z0-9-]+(?: [a-z0-9-]+)*$/, 'not words of lower-case letters, digits and "-"'),
        summary: z.string().min(1).max(200),
        keeps: z.literal(true).exactOptional(),
        main: z.literal(true).exactOptional(),
      }),
    )
    .max(64)
    .default([]),
});

const packageJson = z.object({
  name: z.string().min(1).max(214),
  version,
  description: z.string().max(1_000).catch(''),
  main: z.string().max(512).optional().catch(undefined),
  exports: z.unknown().optional(),
  runtime: runtimeKey,
});

export interface PluginPackage {
  readonly manifest: PluginManifest;
  /** Paths relative to the package, each starting with "./". */
  readonly source: string | undefined;
  readonly compiled: string | undefined;
}

/** The text of a package.json; `undefined` when there is none. @throws CORE_ERR_MANIFEST when it is too large */
export function readPackageJson(file: string): string | undefined {
  try {
    const { size } = statSync(file);
    if (size > MANIFEST_LIMIT) throw refuse(file, `it has ${size} bytes, and ${MANIFEST_LIMIT} is the limit`);
    return readFileSync(file, 'utf8');
  } catch (e) {
    const code = (e as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw e;
  }
}

/** Cheap and without judgement: does this package.json claim to be that of a plugin? */
export function claimsToBePlugin(text: string): boolean {
  if (!text.includes('"runtime"')) return false;
  try {
    const json: unknown = JSON.parse(text);
    const runtime = (json as { runtime?: unknown } | null)?.runtime;
    return typeof runtime === 'object' && runtime !== null && 'plugin' in runtime;
  } catch {
    return false;
  }
}

/**
 * @param file for messages only
 * @throws CORE_ERR_MANIFEST, with everything that is wrong
 */
export function parseManifest(text: string, file: string): PluginPackage {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw errors.CORE_ERR_MANIFEST({ cause, details: { file, why: 'it is not JSON' } });
  }
  if (typeof json === 'object' && json !== null && !('runtime' in json)) {
    throw refuse(file, 'it has no key "runtime"');
  }
  const result = packageJson.safeParse(json);
  if (!result.success) throw refuse(file, issuesToText(explainIssues(packageJson, result.error)));
  const { name, version, description, runtime, exports, main } = result.data;
  const manifest: PluginManifest = {
    plugin: runtime.plugin,
    package: name,
    version,
    description,
    core: runtime.core,
    provides: runtime.provides,
    requires: mapValues(runtime.requires, (r) => (typeof r === 'string' ? { range: r, optional: false } : r)),
    commands: runtime.commands,
  };
  return { manifest, source: runtime.source, compiled: mainEntry(exports) ?? relative(main) };
}

function refuse(file: string, why: string): RuntimeError {
  return errors.CORE_ERR_MANIFEST({ details: { file, why } });
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, fn: (a: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, fn(value)]));
}

function relative(path: string | undefined): string | undefined {
  return path === undefined || path.startsWith('./') ? path : `./${path}`;
}

const CONDITIONS: ReadonlySet<string> = new Set(['node', 'import', 'module-sync', 'default']);
const MAX_NESTING = 8;

/** The target of "." in "exports" for an `import`, https://nodejs.org/api/packages.html#conditional-exports */
function mainEntry(exports: unknown, depth: number = 0): string | undefined {
  if (typeof exports === 'string') return exports.startsWith('./') ? exports : undefined;
  if (typeof exports !== 'object' || exports === null || depth > MAX_NESTING) return undefined;
  if (depth === 0 && '.' in exports) return mainEntry(exports['.'], depth + 1);
  const targets: readonly (readonly [string, unknown])[] = Array.isArray(exports)
    ? exports.map((target) => ['default', target] as const)
    : Object.entries(exports);
  for (const [condition, target] of targets) {
    const entry = CONDITIONS.has(condition) ? mainEntry(target, depth + 1) : undefined;
    if (entry !== undefined) return entry;
  }
  return undefined;
}
