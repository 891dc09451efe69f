// `runtime plugin new`

import { CommandPrinter } from '../command-output.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext, { args: [target = ''], options }: CliCall): Promise<void> {
  const { createPlugin } = await import('../../scaffold/index.ts');
  const printer = new CommandPrinter(context.terminal, context.globals.format);
  const created = await createPlugin(target, {
    cwd: context.cwd,
    template: options.device === true ? 'device' : 'plugin',
    install: options.install !== false,
    onProgress: (stage) => void printer.print({ kind: 'progress', stage }),
  }).finally(() => printer.done());
  await printResult(context, created, () =>
    [
      `${created.package} is in ${created.folder}:`,
      ...created.files.map((file) => `  ${file}`),
      'Next:',
      ...created.next.map((command) => `  ${command}`),
    ].join('\n'),
  );
}
