// The composition root: from configuration to a runtime that can be started.

import { join } from 'node:path';
import {
  createLogger,
  createRuntime,
  didYouMean,
  type FoundPlugin,
  type Logger,
  type LogLevel,
  type NativeHost,
  type PluginLoader,
  type Runtime,
  TraceRecorder,
} from '@runtime/core';
import { createLoader, findPlugin, findPlugins, type Places, withProviders } from '@runtime/core/loader';
import { errors } from '../errors.ts';
import { type LoadedConfig, loadConfig } from './config/layers.ts';
import type { CliContext } from './context.ts';
import { pluginPlaces } from './places.ts';
import { stateFolder } from './xdg.ts';

export interface App extends AsyncDisposable {
  readonly runtime: Runtime;
  readonly config: LoadedConfig;
  readonly plugins: readonly FoundPlugin[];
  readonly recorder: TraceRecorder | undefined;
  readonly log: Logger;
  readonly native: NativeHost | undefined;
  find(spec: string): FoundPlugin;
}

export interface AppOptions {
  /** Where the lines of the log go, as JSON. */
  readonly logLine: (json: string) => void;
  /** Keeps documents and detached children in the state directory. Only for the one runtime of its name. */
  readonly persistent: boolean;
  readonly native?: NativeHost;
  /** Where the configuration names none. */
  readonly quiet?: boolean;
  /** Beside those of the configuration. */
  readonly more?: readonly string[];
  /** Default: that for production. */
  readonly createLoader?: () => PluginLoader;
}

/** Which runtime is meant: `--name`, `RUNTIME_NAME`, or `default`. */
export function instanceName({ globals, env }: CliContext): string {
  return globals.name ?? (env.RUNTIME_NAME || 'default');
}

export function configOf({ env, cwd, globals }: CliContext): Promise<LoadedConfig> {
  const { plugins, config, logLevel, isolation, set } = globals;
  return loadConfig(env, cwd, {
    isolation,
    set,
    ...(plugins === undefined ? {} : { plugins }),
    ...(config === undefined ? {} : { config }),
    ...(logLevel === undefined ? {} : { logLevel }),
  });
}

/** @throws what loadConfig() and findPlugins() do, SDK_ERR_NO_PLUGINS */
export async function composeApp(context: CliContext, options: AppOptions): Promise<App> {
  const loaded = await configOf(context);
  const { config } = loaded;
  const places = pluginPlaces(context.env, context.cwd);
  const specs = [...config.plugins, ...(options.more ?? [])];
  if (specs.length === 0) throw errors.SDK_ERR_NO_PLUGINS();
  const plugins = withProviders(findPlugins(specs, places), places);
  const log = createLogger({
    level: logLevelOf(loaded, options.quiet === true),
    destination: { write: options.logLine },
  });
  warnOfStraySettings(loaded, plugins, log);
  const own = { '@runtime/sdk': import.meta.url };
  const loader = options.createLoader?.() ?? createLoader({ own });
  const { history, listenerLimit } = config.events;
  const runtime = createRuntime({
    log,
    loader,
    timeouts: config.timeouts,
    onFailure: config.onFailure,
    winners: config.services,
    pools: config.pools,
    ...(options.native === undefined ? {} : { native: options.native }),
    ...(history === undefined ? {} : { eventHistory: history }),
    ...(listenerLimit === undefined ? {} : { listenerLimit }),
    ...(options.persistent ? { stateDirectory: join(stateFolder(context.env), instanceName(context)) } : {}),
  });
  const recorder = config.trace.history > 0 ? new TraceRecorder(runtime.tracer, config.trace.history) : undefined;
  for (const found of plugins) runtime.use(found, config.settings[found.manifest.plugin] ?? {});
  return {
    runtime,
    config: loaded,
    plugins,
    recorder,
    log,
    native: options.native,
    find: (spec) => findAgain(spec, places, plugins),
    async [Symbol.asyncDispose]() {
      await runtime.stop();
      recorder?.[Symbol.dispose]();
      await loader[Symbol.asyncDispose]();
    },
  };
}

/** A command's output is not mixed with what plugins say of themselves, unless that was asked for. */
function logLevelOf({ config, origin }: LoadedConfig, quiet: boolean): LogLevel {
  return quiet && origin(['log', 'level']) === 'default' ? 'warn' : config.log.level;
}

/** One that was given as a path at the start is known by its name, too. */
function findAgain(spec: string, places: Places, plugins: readonly FoundPlugin[]): FoundPlugin {
  const known = plugins.find(({ manifest }) => manifest.plugin === spec);
  return known ?? findPlugin(spec, places);
}

function warnOfStraySettings({ config, origin }: LoadedConfig, plugins: readonly FoundPlugin[], log: Logger): void {
  const names = plugins.map(({ manifest }) => manifest.plugin);
  for (const name of Object.keys(config.settings)) {
    if (names.includes(name)) continue;
    const nearest = didYouMean(name, names);
    log.warn(`${origin(['settings', name])}: settings for "${name}", which is not loaded${nearest}`);
  }
}
