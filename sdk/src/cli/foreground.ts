// `runtime --plugins …`: runs until it is asked to stop.

import { isRuntimeError, type PluginLoader } from '@runtime/core';
import { linuxHost } from '../linux/index.ts';
import { type App, composeApp, instanceName } from './app.ts';
import type { CliContext } from './context.ts';
import { EXIT_INTERRUPTED } from './exit-codes.ts';
import { JsonLines, PlainLines, readyText, type Screen } from './screen.ts';
import { type ServiceManager, serviceManager } from './service-manager.ts';
import { onStopSignals } from './signals.ts';

/** How often a stop that takes long says what it waits for, in ms. */
const PROGRESS_MS = 1_000;

export interface ForegroundOptions {
  readonly more?: readonly string[];
  readonly createLoader?: () => PluginLoader;
  /** Runs once everything is ready; what it returns is disposed before the runtime stops. */
  readonly whenReady?: (app: App, screen: Screen) => Disposable;
}

export async function runForeground(context: CliContext, options: ForegroundOptions = {}): Promise<number> {
  const screen = await openScreen(context);
  using manager = serviceManager(process.env);
  const restore = (): void => screen.close();
  process.on('exit', restore);
  try {
    return await run(context, screen, options, manager);
  } finally {
    restore();
    process.off('exit', restore);
  }
}

async function openScreen({ terminal, globals }: CliContext): Promise<Screen> {
  if (globals.format === 'json') return new JsonLines(terminal);
  if (!terminal.size.isTTY) return new PlainLines(terminal);
  const { LiveView } = await import('./live-view.ts');
  return new LiveView(process.stdout, process.stdin, terminal.paint);
}

async function run(
  context: CliContext,
  screen: Screen,
  options: ForegroundOptions,
  manager: ServiceManager | undefined,
): Promise<number> {
  const app = await composeApp(context, {
    logLine: (json) => screen.log(json),
    persistent: true,
    native: linuxHost,
    ...(options.more === undefined ? {} : { more: options.more }),
    ...(options.createLoader === undefined ? {} : { createLoader: options.createLoader }),
  });
  const stop = Promise.withResolvers<string>();
  using _signals = onSignals(app, screen, context.signal, stop.resolve);
  using _faults = onFaults(app, stop.resolve);
  screen.attach(app.runtime);
  manager?.attach(app.runtime);
  const server = await listen(context, app, stop.resolve).catch(async (error: unknown) => {
    await app[Symbol.asyncDispose]();
    throw error;
  });
  const note = (text: string): void => {
    screen.note(text);
    manager?.status(text);
  };
  let stopping = false;
  let watching: Disposable | undefined;
  try {
    // A stop that is asked for meanwhile ends the start, too.
    const stopped = stop.promise.then((reason) => {
      stopping = true;
      return stopWithProgress(app, note, reason);
    });
    await app.runtime.start();
    if (!stopping) {
      const facts = { ms: performance.now(), plugins: app.plugins.length, socket: server.path };
      screen.ready(facts);
      manager?.ready(readyText(facts));
      watching = options.whenReady?.(app, screen);
    }
    await stopped;
  } catch (error) {
    if (!(stopping && isRuntimeError(error, 'CORE_ERR_CLOSING'))) throw error;
  } finally {
    watching?.[Symbol.dispose]();
    await app[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  }
  return process.exitCode === undefined ? 0 : Number(process.exitCode);
}

async function listen(
  context: CliContext,
  app: App,
  stop: (reason: string) => void,
): Promise<{ readonly path: string } & AsyncDisposable> {
  const { controlSocketPath, startControlServer } = await import('@runtime/core/control');
  return startControlServer({
    runtime: app.runtime,
    socketPath: controlSocketPath(context.env, instanceName(context)),
    log: app.log,
    native: app.native,
    host: {
      recorder: app.recorder,
      find: async (spec) => app.find(spec),
      settings: (name) => app.config.config.settings[name] ?? {},
      requestStop: stop,
    },
  });
}

async function stopWithProgress(app: App, note: (text: string) => void, reason: string): Promise<void> {
  let last = '';
  const ticker = setInterval(() => {
    const text = `stopping (${reason}); waiting for ${app.runtime.pending().join('; ') || 'nothing in particular'}`;
    if (text !== last) note(text);
    last = text;
  }, PROGRESS_MS);
  try {
    await app.runtime.stop(reason);
  } finally {
    clearInterval(ticker);
  }
}

/** The first asks politely; the second ends at once and says what still held on. */
function onSignals(app: App, screen: Screen, hangUp: AbortSignal, stop: (reason: string) => void): Disposable {
  const onSignal = (signal: string, again: boolean): void => {
    if (!again) {
      stop(signal);
      return;
    }
    const pending = app.runtime.pending();
    screen.close();
    const list = pending.map((line) => `  ${line}\n`).join('');
    process.stderr.write(`ended at once; still there:${pending.length === 0 ? ' nothing\n' : `\n${list}`}`);
    process.exit(EXIT_INTERRUPTED);
  };
  const signals = onStopSignals(onSignal);
  const onHangUp = (): void => stop('output closed');
  hangUp.addEventListener('abort', onHangUp);
  return {
    [Symbol.dispose]() {
      signals[Symbol.dispose]();
      hangUp.removeEventListener('abort', onHangUp);
    },
  };
}

/** A promise of a plugin that nobody waits for is a mistake, but not one to end every VM for. */
function onFaults(app: App, stop: (reason: string) => void): Disposable {
  const onRejection = (reason: unknown): void => {
    app.log.error({ err: reason }, 'a promise was rejected and nobody noticed');
  };
  const onException = (error: unknown): void => {
    app.log.error({ err: error }, 'an error was thrown where nobody could catch it');
    process.exitCode = 1;
    stop('an unexpected error');
  };
  process.on('unhandledRejection', onRejection);
  process.on('uncaughtException', onException);
  return {
    [Symbol.dispose]() {
      process.off('unhandledRejection', onRejection);
      process.off('uncaughtException', onException);
    },
  };
}
