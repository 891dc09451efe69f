// The `runtime` command.

import { CORE_VERSION, type CommandSpec, isRuntimeError } from '@runtime/core';
import type { CliContext, GlobalValues } from './context.ts';
import { errorJson, errorText, exitCodeOf } from './error-text.ts';
import { EXIT_INTERRUPTED } from './exit-codes.ts';
import { type HelpStyle, parseCommandLine } from './parse.ts';
import { onStopSignals } from './signals.ts';
import { ansiPaint, processTerminal } from './terminal.ts';

export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<void> {
  const interrupt = new AbortController();
  const terminal = processTerminal(process.env, () => interrupt.abort());
  const style: HelpStyle = { columns: terminal.size.columns, color: terminal.paint === ansiPaint };
  // Until they are known, so that a mistake in the command line itself is reported in the form asked for.
  let globals: Pick<GlobalValues, 'format' | 'debug'> = {
    format: wantsJson(argv) ? 'json' : 'table',
    debug: argv.includes('--debug'),
  };
  try {
    if (argv[0] === '__complete') {
      const { answerCompletion } = await import('./completion/answer.ts');
      await terminal.out(await answerCompletion(process.env, process.cwd(), argv.slice(1)));
      return;
    }
    const parsed = parseCommandLine(helpWord(argv), CORE_VERSION, style, await foreignForHelp(argv));
    if (parsed.kind === 'text') {
      await terminal.out(parsed.text);
      return;
    }
    globals = parsed.globals;
    const context: CliContext = {
      env: process.env,
      cwd: process.cwd(),
      globals: parsed.globals,
      terminal,
      reportAs: (given) => {
        globals = given;
      },
      signal: interrupt.signal,
    };
    process.exitCode = (await dispatch(context, parsed, style, interrupt)) ?? 0;
  } catch (error) {
    // Whoever pressed ^C knows.
    const isOwnWish = interrupt.signal.aborted && isCancellation(error);
    const text =
      globals.format === 'json'
        ? errorJson(error)
        : `${terminal.paintErr('red', 'error:')} ${errorText(error, { paint: terminal.paintErr, debug: globals.debug })}`;
    if (!isOwnWish) await terminal.err(`${text}\n`);
    process.exitCode = interrupt.signal.aborted ? EXIT_INTERRUPTED : exitCodeOf(error);
  }
}

function isCancellation(error: unknown): boolean {
  return isRuntimeError(error, 'CORE_ERR_CANCELLED') || (error instanceof Error && error.name === 'AbortError');
}

type Runnable = Exclude<ReturnType<typeof parseCommandLine>, { kind: 'text' }>;

async function dispatch(
  context: CliContext,
  parsed: Runnable,
  style: HelpStyle,
  interrupt: AbortController,
): Promise<number | void> {
  const words = await foreignWords(context, parsed);
  if (parsed.kind === 'run' && words === undefined) {
    const { runForeground } = await import('./foreground.ts');
    return runForeground(context);
  }
  onStopSignals((_signal, again) => {
    // The second time nothing is waited for.
    if (again) process.exit(EXIT_INTERRUPTED);
    interrupt.abort();
  });
  if (parsed.kind !== 'command') {
    const { runForeign } = await import('./foreign.ts');
    return runForeign(context, words ?? [], style);
  }
  const { run } = await parsed.command.load();
  return run(context, parsed.call);
}

/** Of a command of a plugin. Whoever names none on a terminal gets what the plugins are for. */
async function foreignWords(context: CliContext, parsed: Runnable): Promise<readonly string[] | undefined> {
  if (parsed.kind !== 'run') return parsed.kind === 'foreign' ? parsed.words : undefined;
  const { isTTY, inputIsTTY } = context.terminal.size;
  if (!isTTY || inputIsTTY !== true || context.globals.format === 'json') return undefined;
  const { manifestCommands } = await import('./manifest-commands.ts');
  return (await manifestCommands(context)).find(({ main }) => main === true)?.name.split(' ');
}

/** `runtime help plugin list` is `runtime plugin list --help`. */
function helpWord(argv: readonly string[]): readonly string[] {
  return argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv;
}

/** Only the page of help that lists all commands needs them. */
async function foreignForHelp(argv: readonly string[]): Promise<readonly Pick<CommandSpec, 'name' | 'summary'>[]> {
  if (!argv.every((word) => word.startsWith('-')) || !argv.some((word) => word === '-h' || word === '--help'))
    return [];
  const { foreignSummaries } = await import('./foreign-summaries.ts');
  return foreignSummaries(process.env, process.cwd());
}

function wantsJson(argv: readonly string[]): boolean {
  const at = argv.indexOf('--format');
  return argv.includes('--format=json') || (at >= 0 && argv[at + 1] === 'json');
}
