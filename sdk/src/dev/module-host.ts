// Vite as a module system: transforms and runs TypeScript, knows which module imports which, and lets go of old code.
// One server and one runner for the process, since what they register with the process stays registered.

import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isAbsolute, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import type * as Vite from 'vite';
import type * as ViteRunner from 'vite/module-runner';
import { errors } from '../errors.ts';
import { createEvaluator, isOwn, OWN_PACKAGES, ownUrl } from './evaluator.ts';
import { explainLoadError } from './load-error.ts';

/** Files of one plugin that are watched; those beyond are loaded, but a change in them goes unseen. */
const MAX_FILES = 5_000;

/** Content hash by file; '' for a file that was not there. */
export type FileHashes = ReadonlyMap<string, string>;

export interface ModuleHost {
  /**
   * The exports of a module, run again if it, or a module that it imports, changed since or did not run to its end.
   * One import at a time.
   */
  import(entry: string, timeoutMs: number): Promise<Readonly<Record<string, unknown>>>;
  /** The module and all that it imports, apart from packages in node_modules, as they were when they were run. */
  filesOf(entry: string): FileHashes;
}

/** Of the content: editors write twice, and touching a file changes nothing. */
export function hashFile(file: string): string {
  try {
    return hash('sha256', readFileSync(file), 'base64');
  } catch {
    return '';
  }
}

let shared: { readonly host: Promise<ViteHost>; users: number } | undefined;

/** The host of this process, started if there is none. @throws SDK_ERR_VITE_MISSING */
export async function useModuleHost(): Promise<{ readonly host: ModuleHost } & AsyncDisposable> {
  shared ??= { host: startHost(), users: 0 };
  const mine = shared;
  mine.users += 1;
  let released: Promise<void> | undefined;
  const release = async (): Promise<void> => {
    mine.users -= 1;
    if (mine.users > 0) return;
    if (shared === mine) shared = undefined;
    await (await mine.host).close();
  };
  try {
    return {
      host: await mine.host,
      [Symbol.asyncDispose]: () => {
        released ??= release();
        return released;
      },
    };
  } catch (error) {
    if (shared === mine) shared = undefined;
    throw error;
  }
}

interface ViteModules {
  readonly vite: typeof Vite;
  readonly runner: typeof ViteRunner;
}

/** An optional dependency: beside the sdk, or in the project that is worked on. */
async function importVite(): Promise<ViteModules> {
  try {
    const [vite, runner] = await Promise.all([import('vite'), import('vite/module-runner')]);
    return { vite, runner };
  } catch (cause) {
    const { resolve } = createRequire(join(process.cwd(), 'package.json'));
    try {
      const load = (specifier: string): Promise<unknown> => import(pathToFileURL(resolve(specifier)).href);
      const [vite, runner] = await Promise.all([load('vite'), load('vite/module-runner')]);
      return { vite, runner } as ViteModules;
    } catch {
      throw errors.SDK_ERR_VITE_MISSING({ cause });
    }
  }
}

async function startHost(): Promise<ViteHost> {
  const modules = await importVite();
  // V8 keeps the source and code of every eval until some garbage collections later: 6 MB for each reload of a module of
  // 1 MB with 9,000 functions (measured). Without its cache what is not referenced goes at the next one.
  setFlagsFromString('--no-compilation-cache');
  const hashes = new Map<string, string>();
  const nodeEnv = process.env.NODE_ENV;
  const server = await modules.vite.createServer(serverConfig(hashes));
  // Vite sets it for packages that only browsers meet; plugins must see the same in development and in production.
  if (nodeEnv === undefined) delete process.env.NODE_ENV;
  const environment = server.environments.ssr;
  const runner = modules.vite.createServerModuleRunner(environment, {
    // It disposes the old module before it has the new one.
    hmr: false,
    evaluator: createEvaluator(new modules.runner.ESModulesEvaluator()),
  });
  return new ViteHost(server, runner, hashes);
}

function serverConfig(hashes: Map<string, string>): Vite.InlineConfig {
  const conditions = ['node', 'module-sync', ...customConditions()];
  return {
    configFile: false,
    envDir: false,
    publicDir: false,
    appType: 'custom',
    logLevel: 'silent',
    clearScreen: false,
    // Not a folder with plugins in it: URLs of files outside of the root are their paths.
    root: import.meta.dirname,
    server: { middlewareMode: true, ws: false, hmr: false, watch: null },
    optimizeDeps: { noDiscovery: true, include: [] },
    // As Node resolves, so that development and production find the same modules.
    resolve: { conditions, externalConditions: conditions, mainFields: [], noExternal: [...OWN_PACKAGES] },
    plugins: [
      {
        name: 'runtime:plugins',
        enforce: 'pre',
        resolveId: (id) => (isOwn(id) ? { id: ownUrl(id), external: true } : null),
        load(id) {
          const file = id.replace(/[?#].*$/, '');
          // Taken before Vite reads the file: of a change in between it is rather told twice than never.
          if (isAbsolute(file)) hashes.set(file, hashFile(file));
          return null;
        },
      },
    ],
  };
}

/** Those that this process was started with, as in `--conditions=@runtime/source`. */
function customConditions(): readonly string[] {
  const flags = [...(process.env.NODE_OPTIONS ?? '').split(/\s+/), ...process.execArgv];
  return flags.flatMap((flag, i) => {
    const inline = /^(?:--conditions|-C)=(.+)$/.exec(flag)?.[1];
    if (inline !== undefined) return [inline];
    const next = flags[i + 1];
    return (flag === '--conditions' || flag === '-C') && next !== undefined ? [next] : [];
  });
}

class ViteHost implements ModuleHost {
  readonly #server: Vite.ViteDevServer;
  readonly #runner: ViteRunner.ModuleRunner;
  readonly #hashes: Map<string, string>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(server: Vite.ViteDevServer, runner: ViteRunner.ModuleRunner, hashes: Map<string, string>) {
    this.#server = server;
    this.#runner = runner;
    this.#hashes = hashes;
  }

  import(entry: string, timeoutMs: number): Promise<Readonly<Record<string, unknown>>> {
    // An import must not meet modules that another one invalidates.
    const result = this.#last.then(() => this.#import(entry, timeoutMs));
    this.#last = result.catch(() => {});
    return result;
  }

  filesOf(entry: string): FileHashes {
    const files = new Map<string, string>([[entry, this.#hashes.get(entry) ?? '']]);
    for (const { file } of this.#modulesOf(entry)) {
      if (file !== null && isAbsolute(file) && files.size < MAX_FILES) files.set(file, this.#hashes.get(file) ?? '');
    }
    return files;
  }

  async close(): Promise<void> {
    await this.#runner.close();
    await this.#server.close();
  }

  async #import(entry: string, timeoutMs: number): Promise<Readonly<Record<string, unknown>>> {
    for (const [file, loaded] of this.filesOf(entry)) {
      if (loaded !== hashFile(file)) this.#invalidate(file);
    }
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`${entry} did not run to its end within ${timeoutMs} ms; a top-level await?`);
      timer = setTimeout(() => reject(error), timeoutMs);
    });
    try {
      return await Promise.race([this.#runner.import<Readonly<Record<string, unknown>>>(entry), late]);
    } catch (error) {
      await this.#forgetUnfinished(entry);
      throw explainLoadError(error);
    } finally {
      clearTimeout(timer);
    }
  }

  get #graph(): Vite.DevEnvironment['moduleGraph'] {
    return this.#server.environments.ssr.moduleGraph;
  }

  /** It and its importers are transformed and run again when they are next asked for. */
  #invalidate(file: string): void {
    for (const module of this.#graph.getModulesByFile(file) ?? []) this.#graph.invalidateModule(module);
  }

  /** Modules that threw, or still wait: the runner would answer with the same failure for ever. */
  async #forgetUnfinished(entry: string): Promise<void> {
    for (const module of this.#modulesOf(entry)) {
      const promise = module.id === null ? undefined : this.#runner.evaluatedModules.getModuleById(module.id)?.promise;
      if (promise !== undefined && !(await isFulfilled(promise))) this.#graph.invalidateModule(module);
    }
  }

  #modulesOf(entry: string): ReadonlySet<Vite.EnvironmentModuleNode> {
    const modules = new Set(this.#graph.getModulesByFile(entry));
    // A Set goes on over what is added meanwhile.
    for (const module of modules) {
      for (const imported of module.importedModules) modules.add(imported);
    }
    return modules;
  }
}

function isFulfilled(promise: Promise<unknown>): Promise<boolean> {
  const isPending = new Promise<boolean>((resolve) => setImmediate(() => resolve(false)));
  const isDone = promise.then(
    () => true,
    () => false,
  );
  return Promise.race([isDone, isPending]);
}
