// Commands of plugins: run in the runtime that runs, or in one of their own that ends with them.

import {
  type CommandIo,
  type CommandSpec,
  coreErrorTable,
  defineErrors,
  didYouMean,
  isRuntimeError,
  type OptionValues,
  type TerminalSize,
} from '@runtime/core';
import {
  type CommandItem,
  type ControlClient,
  type ControlServer,
  connect,
  controlSocketPath,
  type ListedCommand,
  startControlServer,
} from '@runtime/core/control';
import { listPlugins } from '@runtime/core/loader';
import { errors } from '../errors.ts';
import { linuxHost } from '../linux/index.ts';
import { type App, composeApp, instanceName } from './app.ts';
import { CommandPrinter } from './command-output.ts';
import { CLI_COMMANDS } from './command-table.ts';
import type { CliContext } from './context.ts';
import { EXIT_INTERRUPTED } from './exit-codes.ts';
import { logLineText } from './log-line.ts';
import { manifestCommands } from './manifest-commands.ts';
import { type HelpStyle, type ParsedCall, parseForeign } from './parse.ts';
import { pluginPlaces } from './places.ts';
import { standardInput } from './stdin.ts';

const { CORE_ERR_COMMAND_UNKNOWN } = defineErrors(coreErrorTable);

/** Where commands of plugins are run. */
interface Host extends AsyncDisposable {
  list(): Promise<readonly ListedCommand[]>;
  run(command: ListedCommand, call: ParsedCall, print: (item: CommandItem) => Promise<void>): Promise<number>;
}

export async function runForeign(context: CliContext, words: readonly string[], style: HelpStyle): Promise<number> {
  await using host = await hostOf(context, words);
  const commands = await host.list();
  const command = longestMatch(commands, words);
  if (command === undefined) return await explainGroup(context, commands, words);
  const rest = words.slice(command.name.split(' ').length);
  const parsed = parseForeign(command as CommandSpec, rest, context.globals, style);
  if ('text' in parsed) {
    await context.terminal.out(parsed.text);
    return 0;
  }
  context.reportAs(parsed.globals);
  const printer = new CommandPrinter(context.terminal, parsed.globals.format);
  try {
    const code = await host.run(command, parsed.call, (item) => printer.print(item));
    return context.signal.aborted ? EXIT_INTERRUPTED : code;
  } finally {
    await printer.done();
  }
}

async function hostOf(context: CliContext, words: readonly string[]): Promise<Host> {
  if (context.globals.plugins === undefined) return remoteHost(context, await connectFor(context, words));
  const named = longestMatch(await manifestCommands(context), words);
  if (named?.main !== true && named?.keeps !== true) return await localHost(context);
  try {
    return remoteHost(context, await connect({ env: context.env, name: instanceName(context) }));
  } catch (e) {
    if (!isRuntimeError(e, 'CORE_ERR_CONTROL_UNREACHABLE')) throw e;
    return await localHost(context, true);
  }
}

async function connectFor(context: CliContext, words: readonly string[]): Promise<ControlClient> {
  try {
    return await connect({ env: context.env, name: instanceName(context) });
  } catch (e) {
    if (isRuntimeError(e, 'CORE_ERR_CONTROL_UNREACHABLE')) throw withoutRuntime(context, words) ?? e;
    throw e;
  }
}

function remoteHost(context: CliContext, client: ControlClient): Host {
  const { terminal } = context;
  return {
    list: () => client.request('commands.list', {}),
    run: async ({ name }, call, print) => {
      using following = terminal.followSize();
      return await client.runCommand(
        { name, args: call.args, options: call.options, terminal: { ...terminal.size }, cwd: context.cwd },
        { item: print, input: standardInput(), resizes: following.sizes, signal: context.signal },
      );
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

/** Manifests name commands, so that more can be said than that nothing runs. */
function withoutRuntime({ env, cwd }: CliContext, words: readonly string[]): Error | undefined {
  const { plugins } = listPlugins(pluginPlaces(env, cwd));
  const known = plugins.flatMap(({ manifest }) =>
    manifest.commands.map(({ name }) => ({ name, plugin: manifest.plugin })),
  );
  const typed = wordsOnly(words);
  const asked = known.find(({ name }) => typed.join(' ').startsWith(name) || name.startsWith(`${typed[0]} `));
  if (asked !== undefined) {
    return errors.SDK_ERR_COMMAND_NEEDS_RUNTIME({ details: { command: typed.join(' '), plugin: asked.plugin } });
  }
  const nearest = didYouMean(
    typed[0] ?? '',
    [...CLI_COMMANDS, ...known].map(({ name }) => name.split(' ')[0] ?? ''),
  );
  return nearest === '' ? undefined : CORE_ERR_COMMAND_UNKNOWN({ details: { command: typed.join(' '), nearest } });
}

/** @param keeping its state, which only one runtime of its name may */
async function localHost(context: CliContext, keeping = false): Promise<Host> {
  const { terminal } = context;
  const app = await composeApp(context, {
    logLine: (json) => {
      const text = logLineText(json, terminal.paintErr);
      // A line of progress may be there, or a console whose terminal turns nothing into a carriage return.
      void terminal.err(terminal.errIsTTY ? `\r\x1b[K${text}\r\n` : `${text}\n`);
    },
    persistent: keeping,
    native: linuxHost,
    quiet: true,
  });
  const stopped = new AbortController();
  let server: ControlServer | undefined;
  try {
    if (keeping) server = await serve(context, app, () => stopped.abort());
    await app.runtime.start();
  } catch (e) {
    await app[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    throw e;
  }
  return {
    list: async () => app.runtime.commands.list() as readonly ListedCommand[],
    run: async ({ name, lasting }, call, print) => {
      await using _server =
        lasting === true && !keeping ? await reachable(context, app, () => stopped.abort()) : undefined;
      using following = terminal.followSize();
      let input: AsyncIterableIterator<Uint8Array> | undefined;
      const read = (): AsyncIterableIterator<Uint8Array> => {
        input = standardInput();
        return input;
      };
      try {
        return await app.runtime.commands.run(name, {
          args: call.args,
          options: call.options as OptionValues<CommandSpec>,
          io: localIo(context, print, read, following.sizes),
          signal: AbortSignal.any([context.signal, stopped.signal]),
        });
      } finally {
        // What still waits for a key would keep the process alive.
        await input?.return?.();
      }
    },
    async [Symbol.asyncDispose]() {
      await app[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
    },
  };
}

/** @throws CORE_ERR_RUNTIME_RUNNING */
function serve(context: CliContext, app: App, stop: () => void): Promise<ControlServer> {
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

/** Lets other commands reach the runtime of this one. Not where a runtime of that name runs: that is the one they mean. */
async function reachable(context: CliContext, app: App, stop: () => void): Promise<ControlServer | undefined> {
  try {
    return await serve(context, app, stop);
  } catch (e) {
    if (isRuntimeError(e, 'CORE_ERR_RUNTIME_RUNNING')) return undefined;
    throw e;
  }
}

function localIo(
  { terminal, cwd }: CliContext,
  print: (item: CommandItem) => Promise<void>,
  input: () => AsyncIterableIterator<Uint8Array>,
  resizes: AsyncIterable<TerminalSize>,
): CommandIo {
  return {
    terminal: terminal.size,
    cwd,
    out: (line) => print({ kind: 'out', text: `${line}\n` }),
    err: (line) => print({ kind: 'err', text: `${line}\n` }),
    write: (bytes) => print({ kind: 'bytes', bytes }),
    writeErr: (bytes) => print({ kind: 'err-bytes', bytes }),
    resizes,
    data: (value) => print({ kind: 'data', value }),
    progress: (stage, fraction) =>
      print(fraction === undefined ? { kind: 'progress', stage } : { kind: 'progress', stage, fraction }),
    raw: (on) => print({ kind: 'raw', on }),
    input: { [Symbol.asyncIterator]: input },
  };
}

/** Words up to the first option. */
function wordsOnly(words: readonly string[]): readonly string[] {
  const option = words.findIndex((word) => word.startsWith('-'));
  return option < 0 ? words : words.slice(0, option);
}

function longestMatch<C extends { readonly name: string }>(
  commands: readonly C[],
  words: readonly string[],
): C | undefined {
  return commands
    .filter(({ name }) => name.split(' ').every((part, i) => words[i] === part))
    .toSorted((a, b) => b.name.length - a.name.length)[0];
}

/** `runtime vm`, where there are `vm run` and `vm list`. */
async function explainGroup(
  context: CliContext,
  commands: readonly ListedCommand[],
  words: readonly string[],
): Promise<number> {
  const typed = wordsOnly(words);
  const below = commands.filter(({ name }) => name.startsWith(`${typed.join(' ')} `));
  if (below.length === 0 || typed.length === 0) {
    const nearest = didYouMean(
      typed.join(' '),
      [...commands, ...CLI_COMMANDS].map(({ name }) => name),
    );
    throw CORE_ERR_COMMAND_UNKNOWN({ details: { command: typed.join(' ') || words.join(' '), nearest } });
  }
  const width = Math.max(...below.map(({ name }) => name.length));
  const lines = below.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  const wantsHelp = words.length > typed.length;
  const text = `Commands of ${typed.join(' ')}:\n${lines.join('\n')}\n`;
  await (wantsHelp ? context.terminal.out(text) : context.terminal.err(text));
  return wantsHelp ? 0 : 2;
}
