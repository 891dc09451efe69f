// Port 7779 of the host: where a guest reports programs that have ended when they should not.

import { addRpcService, type RpcHandlers } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';
import { type GuestListenerLimits, listenForGuest } from './guest-listener.ts';
import { LogBudget } from './log-budget.ts';
import { escapeText } from './log-records.ts';

/** Reports of ChromeOS' guests carry the memory of what crashed. */
const LIMITS: GuestListenerLimits = { maxMessage: 4 * 1024 * 1024, maxCalls: 1 };
/** Reports. */
const BUDGET = { burst: 20, perSecond: 0.5 } as const;
const MAX_PROCESS = 64;
const MAX_WHY = 256;

/** What guests call these, most telling first. */
const NAMES: readonly string[] = ['exec_name', 'process', 'upload_var_process'];
const REASONS: readonly string[] = ['reason', 'sig', 'signal'];

export interface Crash {
  /** Name of the program, which can be shown as it is; at most 64 characters. */
  readonly process: string;
  /** In words; at most 256 characters that can be shown. */
  readonly why: string;
}

export interface CrashSink {
  readonly report: (crash: Crash) => void;
  /** The VM is being stopped: then programs may end. */
  readonly isEnding: () => boolean;
  readonly now?: () => number;
}

export function crashHandlers(sink: CrashSink): RpcHandlers<typeof guestWire.table, 'vm_tools.cicerone.CrashListener'> {
  const budget = new LogBudget(BUDGET, sink.now);
  const report = (crash: Crash): object => {
    if (!sink.isEnding() && budget.take(1)) sink.report(crash);
    return {};
  };
  return {
    // What is reported stays on this computer.
    CheckMetricsConsent: async () => ({ consent_granted: true }),
    SendCrashReport: async ({ metadata, minidump }) => {
      const one = (keys: readonly string[]): string | undefined =>
        keys.map((key) => metadata.get(key)).find((value) => value !== undefined && value !== '');
      const pid = /^\d{1,10}$/.exec(metadata.get('pid') ?? '')?.[0];
      const dump = minidump.length === 0 ? '' : `, with ${minidump.length} bytes of memory, which are not kept`;
      const why = `crashed${pid === undefined ? '' : ` (pid ${pid})`}: ${one(REASONS) ?? 'no reason is given'}`;
      return report({ process: shown(one(NAMES) ?? 'a program', MAX_PROCESS), why: shown(why, MAX_WHY) + dump });
    },
    SendFailureReport: async ({ failed_process: process }) =>
      report({
        process: shown(process === '' ? 'a program' : process, MAX_PROCESS),
        why: 'ended, and is to run always',
      }),
  };
}

/** @param path of the socket; what lay there is replaced */
export function listenForCrashes(path: string, sink: CrashSink): Promise<Disposable> {
  return listenForGuest(path, LIMITS, (server) =>
    addRpcService(server, guestWire, 'vm_tools.cicerone.CrashListener', crashHandlers(sink)),
  );
}

function shown(text: string, max: number): string {
  const short = escapeText(text.slice(0, max).toWellFormed());
  return short.length > max ? `${short.slice(0, max - 1)}…` : short;
}
