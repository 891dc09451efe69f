// What goes over the control socket, as schemas. Parameters are checked strictly by the runtime; results and items loosely
// by the client, since a newer runtime may add keys.

import { z } from 'zod';
import type { CheckReport } from '../checks.ts';
import type { CommandSpec } from '../commands.ts';
import type { ErrorRecord } from '../errors.ts';
import { type PluginState, TRANSITIONS } from '../lifecycle.ts';
import type { PluginReport, RuntimeReport, RuntimeState } from '../runtime-types.ts';
import { TRACE_KINDS, type TraceRecord } from '../tracing.ts';
import { parseErrorRecord } from '../wire/error-record.ts';
import type { Item, ListedCommand, MethodName, Params, PluginGraph, Result, StatusReport } from './method-types.ts';

const text = z.string();
const texts = z.array(text);
const count = z.int().min(0);
const flag = z.boolean();
const maybeText = z.union([text, z.undefined()]);
const maybeNumber = z.union([z.number(), z.undefined()]);
const pluginName = z.string().min(1).max(214);
const nothing = z.strictObject({});
const anything = z.looseObject({});

/** Parameters, checked by the runtime. */
export const PARAMS: { readonly [M in MethodName]: z.ZodType<Params<M>> } = {
  ping: nothing,
  status: nothing,
  inspect: nothing,
  doctor: nothing,
  stop: z.strictObject({ reason: z.string().max(1000).exactOptional() }),
  'plugin.list': nothing,
  'plugin.info': z.strictObject({ name: pluginName }),
  'plugin.graph': nothing,
  'plugin.reload': z.strictObject({ name: pluginName }),
  'plugin.enable': z.strictObject({ spec: z.string().min(1).max(4096) }),
  'plugin.disable': z.strictObject({ name: pluginName }),
  'events.subscribe': z.strictObject({
    pattern: z.string().min(1).max(256),
    replay: z.int().min(0).max(65_536).exactOptional(),
  }),
  'trace.subscribe': z.strictObject({
    plugin: pluginName.exactOptional(),
    kind: z.enum(TRACE_KINDS).exactOptional(),
    vm: z.string().max(256).exactOptional(),
  }),
  'trace.why': z.strictObject({ id: z.int().min(1) }),
  'commands.list': nothing,
  'commands.run': z.strictObject({
    name: z.string().min(1).max(256),
    args: z.array(z.string()).max(100_000).exactOptional(),
    options: z.record(z.string(), z.unknown()).exactOptional(),
    terminal: z
      .strictObject({
        isTTY: flag,
        columns: z.int().min(0).max(65_535),
        rows: z.int().min(0).max(65_535),
        inputIsTTY: flag.exactOptional(),
        type: z.string().min(1).max(64).exactOptional(),
      })
      .exactOptional(),
    cwd: z.string().min(1).max(4096).startsWith('/'),
  }),
};

const RUNTIME_STATES: readonly RuntimeState[] = ['new', 'starting', 'running', 'stopping', 'stopped', 'failed'];
const runtimeState = z.enum(RUNTIME_STATES);
const pluginState = z.enum(Object.keys(TRANSITIONS) as PluginState[]);
const errorRecord: z.ZodType<ErrorRecord> = z.custom<ErrorRecord>((value) => parseErrorRecord(value) !== undefined);

const pluginReport: z.ZodType<PluginReport> = z.looseObject({
  name: text,
  version: text,
  state: pluginState,
  isolation: z.enum(['in-process', 'process']),
  origin: text,
  directory: maybeText,
  requires: z.array(z.looseObject({ service: text, range: text, optional: flag, provider: maybeText })),
  provides: z.array(z.looseObject({ service: text, version: text, active: flag })),
  setupMs: maybeNumber,
  readyMs: maybeNumber,
  reloads: count,
  holds: texts,
  busy: texts,
  error: maybeText,
});

const PROCESS_STATES = ['starting', 'ready', 'stopping', 'backoff', 'exited', 'crash-loop'] as const;

const runtimeReport: z.ZodType<RuntimeReport> = z.looseObject({
  instance: text,
  state: runtimeState,
  startMs: maybeNumber,
  waves: z.array(texts),
  plugins: z.array(pluginReport),
  services: z.array(
    z.looseObject({ service: text, version: text, provider: text, rebind: text, consumers: texts, inFlight: count }),
  ),
  hooks: z.array(
    z.looseObject({ hook: text, kind: text, taps: z.array(z.looseObject({ plugin: text, stage: z.number() })) }),
  ),
  events: z.array(z.looseObject({ topic: text, listeners: z.record(text, count), emitted: count })),
  leases: z.array(
    z.looseObject({ pool: text, key: text, owner: text, state: z.enum(['held', 'parked']), value: z.unknown() }),
  ),
  keepers: z.array(z.looseObject({ plugin: text, key: text, kind: text })),
  processes: z.array(
    z.looseObject({
      plugin: text,
      key: text,
      kind: text,
      pid: maybeNumber,
      state: z.enum(PROCESS_STATES),
      restarts: count,
      detached: flag,
    }),
  ),
});

const statusReport: z.ZodType<StatusReport> = z.looseObject({
  instance: text,
  version: text,
  pid: count,
  state: runtimeState,
  startMs: maybeNumber,
  plugins: z.array(z.looseObject({ name: text, version: text, state: pluginState })),
  pending: texts,
});

const checkReport: z.ZodType<CheckReport> = z.looseObject({
  name: text,
  plugin: text,
  status: z.enum(['ok', 'warn', 'fail']),
  found: text,
  remedy: text.exactOptional(),
});

const pluginGraph: z.ZodType<PluginGraph> = z.looseObject({
  waves: z.array(texts),
  edges: z.array(z.looseObject({ plugin: text, service: text, range: text, optional: flag, provider: maybeText })),
});

const traceRecord: z.ZodType<TraceRecord> = z.looseObject({
  runtime: text,
  id: count,
  cause: count,
  kind: z.enum(TRACE_KINDS),
  phase: z.enum(['point', 'start', 'end', 'error']),
  name: text,
  plugin: text,
  at: z.number(),
  ms: z.number().exactOptional(),
  labels: z.record(text, text).exactOptional(),
  detail: z.unknown().exactOptional(),
  error: errorRecord.exactOptional(),
});

const optionValue = z.union([flag, text, z.number()]);
export const COMMAND_SPEC: z.ZodType<CommandSpec> = z.looseObject({
  name: text,
  summary: text,
  description: text.exactOptional(),
  lasting: z.literal(true).exactOptional(),
  keeps: z.literal(true).exactOptional(),
  main: z.literal(true).exactOptional(),
  args: z
    .array(
      z.looseObject({
        name: text,
        summary: text,
        required: flag.exactOptional(),
        variadic: flag.exactOptional(),
      }),
    )
    .exactOptional(),
  options: z
    .record(
      text,
      z.looseObject({
        type: z.enum(['boolean', 'string', 'number']),
        summary: text,
        short: text.exactOptional(),
        default: optionValue.exactOptional(),
        required: flag.exactOptional(),
        multiple: flag.exactOptional(),
        choices: texts.exactOptional(),
        env: text.exactOptional(),
      }),
    )
    .exactOptional(),
});

const listedCommand: z.ZodType<ListedCommand> = z.intersection(COMMAND_SPEC, z.looseObject({ plugin: text }));

/** Results, checked by the client. */
export const RESULTS: { readonly [M in MethodName]: z.ZodType<Result<M>> } = {
  ping: z.looseObject({ instance: text }),
  status: statusReport,
  inspect: runtimeReport,
  doctor: z.array(checkReport),
  stop: anything,
  'plugin.list': z.array(pluginReport),
  'plugin.info': pluginReport,
  'plugin.graph': pluginGraph,
  'plugin.reload': z.looseObject({
    plugin: text,
    restarted: texts,
    outcome: z.enum(['swapped', 'kept-old', 'rolled-back', 'failed']),
    ms: z.number(),
    error: errorRecord.exactOptional(),
  }),
  'plugin.enable': z.looseObject({ name: text }),
  'plugin.disable': anything,
  'events.subscribe': anything,
  'trace.subscribe': anything,
  'trace.why': z.array(traceRecord),
  'commands.list': z.array(listedCommand),
  'commands.run': z.looseObject({ exit: z.int().min(0).max(255) }),
};

const dropped = z.looseObject({ kind: z.literal('dropped'), count });

/** Items, checked by the client. */
export const ITEMS: { readonly [M in MethodName]: z.ZodType<Item<M>> } = {
  ping: z.never(),
  status: z.never(),
  inspect: z.never(),
  doctor: z.never(),
  stop: z.never(),
  'plugin.list': z.never(),
  'plugin.info': z.never(),
  'plugin.graph': z.never(),
  'plugin.reload': z.never(),
  'plugin.enable': z.never(),
  'plugin.disable': z.never(),
  'events.subscribe': z.discriminatedUnion('kind', [
    z.looseObject({
      kind: z.literal('event'),
      id: count,
      topic: text,
      source: text,
      data: z.unknown(),
      note: text.exactOptional(),
    }),
    dropped,
  ]),
  'trace.subscribe': z.discriminatedUnion('kind', [
    z.looseObject({ kind: z.literal('trace'), record: traceRecord }),
    dropped,
  ]),
  'trace.why': z.never(),
  'commands.list': z.never(),
  'commands.run': z.discriminatedUnion('kind', [
    z.looseObject({ kind: z.enum(['out', 'err']), text }),
    z.looseObject({ kind: z.enum(['bytes', 'err-bytes']), bytes: z.instanceof(Uint8Array) }),
    z.looseObject({ kind: z.literal('data'), value: z.unknown() }),
    z.looseObject({ kind: z.literal('progress'), stage: text, fraction: z.number().exactOptional() }),
    z.looseObject({ kind: z.literal('raw'), on: z.boolean() }),
  ]),
};
