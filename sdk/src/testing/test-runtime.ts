// A runtime for one test: started, quiet, and gone at the end of the block. What the test did not see, it tells.

import {
  type AnyPlugin,
  createRuntime,
  type FoundPlugin,
  type PluginSettings,
  type Runtime,
  type RuntimeOptions,
} from '@runtime/core';
import { errors } from '../errors.ts';
import { type FakeLogger, fakeLogger } from './fake-logger.ts';
import { type CommandResult, type RunCommandOptions, runCommand } from './run-command.ts';

/**
 * - `listener-errors`: an event listener threw or rejected.
 * - `stop-errors`: quiescing, disposing or a cleanup failed while the runtime stopped.
 * - `leaks`: a plugin still held something after it was disposed.
 */
export type TestProblem = 'listener-errors' | 'stop-errors' | 'leaks';

export interface TestRuntimeOptions extends Omit<RuntimeOptions, 'log'> {
  readonly plugins?: readonly (AnyPlugin | FoundPlugin)[];
  /** Plugin → its part of the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Plugin → its other settings. */
  readonly settings?: Readonly<Record<string, PluginSettings>>;
  /** Problems that are expected; all others make the disposal fail with SDK_ERR_TEST_PROBLEMS. */
  readonly allow?: readonly TestProblem[];
}

export interface TestRuntime extends Runtime {
  readonly log: FakeLogger;
  /** Runs a command of a plugin; see {@link runCommand}. */
  run(command: string, options?: RunCommandOptions): Promise<CommandResult>;
}

/**
 * ```ts
 * await using runtime = await createTestRuntime({ plugins: [hello], config: { hello: { greeting: 'Hi' } } });
 * expect(await runtime.get(greeter).greet('Ada')).toBe('Hi, Ada!');
 * ```
 * Its log is kept and not printed. Without a `stateDirectory` nothing is written to disk.
 * @throws what start() throws
 */
export async function createTestRuntime(options: TestRuntimeOptions = {}): Promise<TestRuntime> {
  const { plugins = [], config = {}, settings = {}, allow = [], ...rest } = options;
  const log = fakeLogger();
  const runtime = createRuntime({ ...rest, log });
  for (const plugin of plugins) {
    const name = 'manifest' in plugin ? plugin.manifest.plugin : plugin.name;
    const own = { ...settings[name], ...(name in config ? { config: config[name] } : {}) };
    if ('manifest' in plugin) runtime.use(plugin, own);
    else runtime.use(plugin, own);
  }
  const found: Record<TestProblem, Problem[]> = { 'listener-errors': [], 'stop-errors': [], leaks: [] };
  runtime.events.on('core:listener-error', ({ event, plugin, error }) => {
    found['listener-errors'].push({ what: `the listener of ${plugin} to "${event}" failed`, error });
  });
  await runtime.start();
  const end = async (): Promise<void> => {
    const before = log.records.length;
    await runtime.stop();
    found['stop-errors'].push(...errorsSince(log, before));
    found.leaks.push(...leaksOf(runtime));
    const problems = Object.entries(found).flatMap(([kind, list]) => (allow.includes(kind as TestProblem) ? [] : list));
    if (problems.length > 0) throw problemsError(problems);
  };
  let ending: Promise<void> | undefined;
  return Object.assign(runtime, {
    log,
    run: (command: string, runOptions?: RunCommandOptions) => runCommand(runtime, command, runOptions),
    [Symbol.asyncDispose]: () => {
      ending ??= end();
      return ending;
    },
  });
}

interface Problem {
  readonly what: string;
  readonly error?: unknown;
}

function errorsSince(log: FakeLogger, index: number): readonly Problem[] {
  const records = log.records.slice(index).filter(({ level }) => level === 'error');
  return records.map(({ message, fields }) => ({ what: message, error: fields.err }));
}

function leaksOf(runtime: Runtime): readonly Problem[] {
  const { plugins, leases, keepers, events, hooks } = runtime.inspect();
  const held = [
    ...plugins.flatMap(({ name, holds }) => holds.map((label) => [name, label] as const)),
    ...leases.map(({ owner, pool, key }) => [owner, `lease ${pool}/${key}`] as const),
    ...keepers.map(({ plugin, key }) => [plugin, `keeper ${key}`] as const),
    ...events.flatMap(({ topic, listeners }) =>
      Object.keys(listeners).map((p) => [p, `listener of ${topic}`] as const),
    ),
    ...hooks.flatMap(({ hook, taps }) => taps.map(({ plugin }) => [plugin, `tap of ${hook}`] as const)),
  ];
  const stuck = runtime.pending().map((what) => ({ what: `still there after stop(): ${what}` }));
  return [...new Set(held.map(([plugin, what]) => `${plugin} still holds ${what}`))]
    .map((what) => ({ what }))
    .concat(stuck);
}

function problemsError(problems: readonly Problem[]): Error {
  const text = problems.map(({ what, error }) => (error === undefined ? what : `${what}: ${messageOf(error)}`));
  return errors.SDK_ERR_TEST_PROBLEMS({
    details: { problems: text.join('; ') },
    cause: new AggregateError(
      problems.flatMap(({ error }) => (error === undefined ? [] : [error])),
      'problems of the test',
    ),
  });
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner: readonly unknown[] = error instanceof AggregateError ? error.errors : [error.cause];
  return [error.message, ...inner.filter((cause) => cause !== undefined).map(messageOf)].join(': ');
}
