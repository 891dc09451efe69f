// `runtime serve`

import type { CliHandler } from '../command-table.ts';
import { runForeground } from '../foreground.ts';

export const run: CliHandler = (context) => runForeground(context);
