// How a process is brought to an end: asked, told (SIGTERM), ended (SIGKILL), each with its own deadline.

import type { Clock } from '../clock.ts';
import { errors } from '../core-errors.ts';
import type { Logger } from '../logging.ts';
import type { Incarnation } from './incarnation.ts';
import type { SpawnRequest } from './types.ts';

/** Milliseconds for each rung. */
export const STOP_DEFAULTS = { ask: 2000, term: 3000, kill: 2000 } as const;

export interface LadderOptions {
  readonly process: Incarnation;
  readonly name: string;
  readonly plugin: string;
  /** Left out: the ladder starts with SIGTERM. */
  readonly ask: (() => void | Promise<void>) | undefined;
  readonly stopMs: SpawnRequest['stopMs'];
  readonly clock: Clock;
  readonly log: Logger;
  readonly onRung: (rung: keyof typeof STOP_DEFAULTS) => void;
}

/** @throws CORE_ERR_PROCESS_STUCK */
export async function climbDown(options: LadderOptions): Promise<void> {
  const { process, name, plugin, ask, clock, log, onRung } = options;
  const ms = { ...STOP_DEFAULTS, ...options.stopMs };
  const rungs = [
    { rung: 'ask', act: ask },
    { rung: 'term', act: () => process.signalGroup('SIGTERM') },
    { rung: 'kill', act: () => process.signalGroup('SIGKILL') },
  ] as const;
  for (const { rung, act } of rungs) {
    if (act === undefined) continue;
    if (!process.live) return;
    onRung(rung);
    const refused = attempt(act).catch((err: unknown) => {
      log.warn({ err, rung }, `${name} could not be asked to end`);
      return 'refused' as const;
    });
    if (await endsWithin(process, ms[rung], refused, clock)) return;
  }
  throw errors.CORE_ERR_PROCESS_STUCK({ plugin, details: { name, pid: process.identity.pid, ms: ms.kill } });
}

async function attempt(act: () => void | Promise<void>): Promise<undefined> {
  await act();
}

/** False after `ms`, or as soon as the attempt was refused. */
function endsWithin(
  process: Incarnation,
  ms: number,
  attempted: Promise<'refused' | undefined>,
  clock: Clock,
): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => resolve(false));
    void process.ended.then(() => {
      timer[Symbol.dispose]();
      resolve(true);
    });
    void attempted.then((answer) => {
      if (answer !== 'refused') return;
      timer[Symbol.dispose]();
      resolve(!process.live);
    });
  });
}
