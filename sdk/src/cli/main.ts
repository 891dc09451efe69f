// The `runtime` command.

import { CORE_VERSION } from '@runtime/core';
import type { CliContext, GlobalValues } from './context.ts';
import { errorJson, errorText, exitCodeOf } from './error-text.ts';
import { EXIT_INTERRUPTED } from './exit-codes.ts';
import { type HelpStyle, parseCommandLine } from './parse.ts';
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
    const parsed = parseCommandLine(argv, CORE_VERSION, style);
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
      signal: interrupt.signal,
    };
    process.exitCode = (await dispatch(context, parsed, style, interrupt)) ?? 0;
  } catch (error) {
    const text =
      globals.format === 'json'
        ? errorJson(error)
        : errorText(error, { paint: terminal.paintErr, debug: globals.debug });
    await terminal.err(`${text}\n`);
    process.exitCode = interrupt.signal.aborted ? EXIT_INTERRUPTED : exitCodeOf(error);
  }
}

type Runnable = Exclude<ReturnType<typeof parseCommandLine>, { kind: 'text' }>;

async function dispatch(
  context: CliContext,
  parsed: Runnable,
  style: HelpStyle,
  interrupt: AbortController,
): Promise<number | void> {
  if (parsed.kind === 'run') {
    const { runForeground } = await import('./foreground.ts');
    return runForeground(context);
  }
  const onSignal = (): void => {
    // The second time nothing is waited for.
    if (interrupt.signal.aborted) process.exit(EXIT_INTERRUPTED);
    interrupt.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  if (parsed.kind === 'foreign') {
    const { runForeign } = await import('./foreign.ts');
    return runForeign(context, parsed.words, style);
  }
  const { run } = await parsed.command.load();
  return run(context, parsed.call);
}

function wantsJson(argv: readonly string[]): boolean {
  const at = argv.indexOf('--format');
  return argv.includes('--format=json') || (at >= 0 && argv[at + 1] === 'json');
}
