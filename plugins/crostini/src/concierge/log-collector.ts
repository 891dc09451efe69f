// Port 9999 of the host: where a guest sends what its kernel and its programs have logged.

import type { Message } from '@runtime/sdk/protobuf';
import { addRpcService, type RpcHandlers } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';
import { type GuestListenerLimits, listenForGuest } from './guest-listener.ts';
import { LogBudget } from './log-budget.ts';
import { type LogPriority, type LogRecord, type LogSource, linesOf } from './log-records.ts';

const LIMITS: GuestListenerLimits = { maxMessage: 512 * 1024, maxCalls: 4 };
/** Bytes of what is logged, each record with what it costs beside its text. */
const BUDGET = { burst: 1024 * 1024, perSecond: 64 * 1024 } as const;
const RECORD_COST = 64;

const PRIORITIES: Readonly<Record<string, LogPriority>> = {
  ...{ EMERGENCY: 'emergency', ALERT: 'alert', CRITICAL: 'critical', ERROR: 'error' },
  ...{ WARNING: 'warning', NOTICE: 'notice', INFO: 'info', DEBUG: 'debug' },
};

export interface LogSink {
  /** Times before this, which a guest without a clock has, are not believed; milliseconds since 1970. */
  readonly since: number;
  readonly append: (records: readonly LogRecord[]) => void;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

type Sent = Message<typeof guestWire.table, 'vm_tools.LogRecord'>;

export function logHandlers(sink: LogSink): RpcHandlers<typeof guestWire.table, 'vm_tools.LogCollector'> {
  const { now = Date.now } = sink;
  const budget = new LogBudget(BUDGET, now);
  const collect = (source: LogSource, sent: readonly Sent[]): object => {
    const records: LogRecord[] = [];
    const fits = sent.filter(({ content }) => budget.take(content.length + RECORD_COST));
    const refused = budget.takeRefused();
    for (const { severity, timestamp, content } of fits) {
      const time = timeOf(timestamp, sink.since, now());
      const priority = PRIORITIES[String(severity)] ?? 'info';
      for (const text of linesOf(content)) records.push({ time, source, priority, text });
    }
    if (refused > 0) records.push(dropped(source, refused, now()));
    sink.append(records);
    return {};
  };
  return {
    CollectKernelLogs: async ({ records }) => collect('kernel', records),
    CollectUserLogs: async ({ records }) => collect('user', records),
  };
}

/** @param path of the socket; what lay there is replaced */
export function listenForLogs(path: string, sink: LogSink): Promise<Disposable> {
  return listenForGuest(path, LIMITS, (server) =>
    addRpcService(server, guestWire, 'vm_tools.LogCollector', logHandlers(sink)),
  );
}

export function dropped(source: LogSource, count: number, time: number): LogRecord {
  const text = `(${count} ${count === 1 ? 'line was' : 'lines were'} dropped: this VM logs too much)`;
  return { time, source, priority: 'warning', text };
}

function timeOf(timestamp: Sent['timestamp'], since: number, now: number): number {
  if (timestamp === undefined) return now;
  const ms = Number(timestamp.seconds) * 1_000 + Math.floor(timestamp.nanos / 1_000_000);
  return Math.min(Math.max(ms, Math.min(since, now)), now);
}
