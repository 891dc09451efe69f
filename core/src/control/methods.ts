// What the methods of the control socket do. Their types are in method-types.ts, their schemas in schemas.ts.

import type { TerminalSize } from '../commands.ts';
import { errors } from '../core-errors.ts';
import { isRuntimeError, toErrorRecord } from '../errors.ts';
import type { EventName, RuntimeEvent } from '../events.ts';
import { didYouMean } from '../nearest.ts';
import type { PluginReport, Runtime } from '../runtime-types.ts';
import type { TraceRecord } from '../tracing.ts';
import { CORE_VERSION } from '../version.ts';
import { encodeValue } from '../wire/value.ts';
import { runCommand } from './command-call.ts';
import type { ControlHost } from './host.ts';
import { Mailbox } from './mailbox.ts';
import type { EventItem, Item, MethodName, Params, Result } from './method-types.ts';

/** Events and trace records kept for a subscriber that is slow. */
const MAILBOX_SIZE = 1024;

export interface MethodDeps {
  readonly runtime: Runtime;
  readonly host: ControlHost;
}

/** One request under way, as its handler sees it. */
export interface Call<I> {
  /** Aborted when the client cancels or goes away. */
  readonly signal: AbortSignal;
  /** Sends an item; waits while the client is slow. @throws CORE_ERR_CANCELLED once the request is over */
  item(data: I): Promise<void>;
  /** Bytes that the client sends; ends with the request. */
  readonly input: AsyncIterable<Uint8Array>;
  /** Of the client's terminal; ends with the request. */
  readonly resizes: AsyncIterable<TerminalSize>;
}

export type Handler<M extends MethodName> = (
  params: Params<M>,
  call: Call<Item<M>>,
  deps: MethodDeps,
) => Result<M> | Promise<Result<M>>;

export const HANDLERS: { readonly [M in MethodName]: Handler<M> } = {
  ping: (_params, _call, { runtime }) => ({ instance: runtime.instance }),

  status(_params, _call, { runtime }) {
    const { instance, state, startMs, plugins } = runtime.inspect();
    return {
      instance,
      version: CORE_VERSION,
      pid: process.pid,
      state,
      startMs,
      plugins: plugins.map((plugin) => ({ name: plugin.name, version: plugin.version, state: plugin.state })),
      pending: runtime.pending(),
    };
  },

  inspect: (_params, _call, { runtime }) => runtime.inspect(),

  doctor: (_params, _call, { runtime }) => runtime.doctor(),

  stop({ reason }, _call, { host }) {
    host.requestStop(reason ?? 'asked to over the control socket');
    return {};
  },

  'plugin.list': (_params, _call, { runtime }) => runtime.inspect().plugins,

  'plugin.info': ({ name }, _call, { runtime }) => reportOf(runtime, name),

  'plugin.graph'(_params, _call, { runtime }) {
    const { waves, plugins } = runtime.inspect();
    const edges = plugins.flatMap((plugin) => plugin.requires.map((edge) => ({ plugin: plugin.name, ...edge })));
    return { waves, edges };
  },

  async 'plugin.reload'({ name }, _call, { runtime }) {
    reportOf(runtime, name);
    const { error, ...report } = await runtime.reload(name);
    return error === undefined ? report : { ...report, error: toErrorRecord(error) };
  },

  async 'plugin.enable'({ spec }, _call, { runtime, host }) {
    const found = await host.find(spec);
    const name = found.manifest.plugin;
    await runtime.add(found, host.settings(name));
    return { name };
  },

  async 'plugin.disable'({ name }, _call, { runtime }) {
    reportOf(runtime, name);
    await runtime.remove(name);
    return {};
  },

  async 'events.subscribe'({ pattern, replay }, call, { runtime }) {
    const mailbox = new Mailbox<RuntimeEvent>(MAILBOX_SIZE);
    const listener = (_data: unknown, event: RuntimeEvent): void => mailbox.push(event);
    using _subscription = runtime.events.on(pattern as EventName, listener, { replay: replay ?? 0 });
    for await (const delivery of mailbox.deliveries(call.signal)) {
      await call.item('dropped' in delivery ? { kind: 'dropped', count: delivery.dropped } : eventItem(delivery.value));
    }
    return {};
  },

  async 'trace.subscribe'({ plugin, kind, vm }, call, { runtime }) {
    const mailbox = new Mailbox<TraceRecord>(MAILBOX_SIZE);
    using _subscription = runtime.tracer.subscribe((record) => {
      const wanted =
        (plugin === undefined || record.plugin === plugin) &&
        (kind === undefined || record.kind === kind) &&
        (vm === undefined || record.labels?.vm === vm);
      if (wanted) mailbox.push(record);
    });
    for await (const delivery of mailbox.deliveries(call.signal)) {
      await call.item(
        'dropped' in delivery
          ? { kind: 'dropped', count: delivery.dropped }
          : { kind: 'trace', record: sendable(delivery.value) },
      );
    }
    return {};
  },

  'trace.why': ({ id }, _call, { host }) => (host.recorder?.why(id) ?? []).map(sendable),

  'commands.list': (_params, _call, { runtime }) => runtime.commands.list(),

  'commands.run': (params, call, { runtime }) => runCommand(runtime, params, call),
};

function reportOf(runtime: Runtime, name: string): PluginReport {
  const { plugins } = runtime.inspect();
  const report = plugins.find((plugin) => plugin.name === name);
  if (report !== undefined) return report;
  const nearest = didYouMean(
    name,
    plugins.map((plugin) => plugin.name),
  );
  throw errors.CORE_ERR_PLUGIN_UNKNOWN({ details: { plugin: name, nearest } });
}

/** Why a value cannot be sent; `undefined` when it can. Events and traces may carry anything. */
function obstacle(value: unknown): string | undefined {
  try {
    encodeValue(value);
    return undefined;
  } catch (error) {
    return isRuntimeError(error) ? error.message : String(error);
  }
}

function eventItem({ id, topic, source, data }: RuntimeEvent): EventItem {
  const note = obstacle(data);
  const item = { kind: 'event', id, topic, source } as const;
  return note === undefined ? { ...item, data } : { ...item, data: undefined, note };
}

function sendable(record: TraceRecord): TraceRecord {
  const note = record.detail === undefined ? undefined : obstacle(record.detail);
  return note === undefined ? record : { ...record, detail: { note } };
}
