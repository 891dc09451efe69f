// `runtime plugin dev`

import { createDevLoader } from '../../dev/index.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { runForeground } from '../foreground.ts';
import { watchAndReload } from '../reload-on-change.ts';

export function run(context: CliContext, { args }: CliCall): Promise<number> {
  const loader = createDevLoader();
  return runForeground(context, {
    more: args,
    createLoader: () => loader,
    whenReady: (app, screen) => watchAndReload(app, screen, loader),
  });
}
