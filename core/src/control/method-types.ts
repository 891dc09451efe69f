// The methods of the control socket as types: what a client sends and gets.

import type { CheckReport } from '../checks.ts';
import type { CommandOption, CommandSpec, CommandTerminal } from '../commands.ts';
import type { ErrorRecord } from '../errors.ts';
import type { PluginState } from '../lifecycle.ts';
import type { PluginReport, ReloadReport, RuntimeReport, RuntimeState } from '../runtime-types.ts';
import type { TraceKind, TraceRecord } from '../tracing.ts';

export type Empty = Readonly<Record<never, never>>;

export interface StatusReport {
  readonly instance: string;
  readonly version: string;
  readonly pid: number;
  readonly state: RuntimeState;
  /** Milliseconds from start() to the last `ready`. */
  readonly startMs: number | undefined;
  readonly plugins: readonly { readonly name: string; readonly version: string; readonly state: PluginState }[];
  /** What keeps it from stopping, in words. */
  readonly pending: readonly string[];
}

export interface PluginGraph {
  /** Names set up together, wave after wave. */
  readonly waves: readonly (readonly string[])[];
  /** `provider` is `undefined` where an optional service has none. */
  readonly edges: readonly {
    readonly plugin: string;
    readonly service: string;
    readonly range: string;
    readonly optional: boolean;
    readonly provider: string | undefined;
  }[];
}

export type ReloadOutcome = Omit<ReloadReport, 'error'> & { readonly error?: ErrorRecord };

export interface EventItem {
  readonly kind: 'event';
  readonly id: number;
  readonly topic: string;
  readonly source: string;
  /** `undefined` when it could not cross, with `note` saying why. */
  readonly data: unknown;
  readonly note?: string;
}
export interface TraceItem {
  readonly kind: 'trace';
  readonly record: TraceRecord;
}
/** So many were left out because the reader was slow. */
export interface DroppedItem {
  readonly kind: 'dropped';
  readonly count: number;
}

export type ListedCommand = Omit<CommandSpec, 'options'> & {
  readonly plugin: string;
  readonly options?: Readonly<Record<string, CommandOption>>;
};

export interface RunCommandParams {
  readonly name: string;
  readonly args?: readonly string[];
  readonly options?: Readonly<Record<string, unknown>>;
  readonly terminal?: CommandTerminal;
  /** Absolute. */
  readonly cwd: string;
}
export type CommandItem =
  /** Text as it is to be printed, line feeds included. */
  | { readonly kind: 'out' | 'err'; readonly text: string }
  | { readonly kind: 'bytes' | 'err-bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'data'; readonly value: unknown }
  | { readonly kind: 'progress'; readonly stage: string; readonly fraction?: number }
  /** Keys are to be sent as they are typed, or no longer. */
  | { readonly kind: 'raw'; readonly on: boolean };

/** `item` is `never` for a method that only has a result. */
export interface ControlMethods {
  ping: { params: Empty; item: never; result: { readonly instance: string } };
  status: { params: Empty; item: never; result: StatusReport };
  inspect: { params: Empty; item: never; result: RuntimeReport };
  doctor: { params: Empty; item: never; result: readonly CheckReport[] };
  stop: { params: { readonly reason?: string }; item: never; result: Empty };
  'plugin.list': { params: Empty; item: never; result: readonly PluginReport[] };
  'plugin.info': { params: { readonly name: string }; item: never; result: PluginReport };
  'plugin.graph': { params: Empty; item: never; result: PluginGraph };
  'plugin.reload': { params: { readonly name: string }; item: never; result: ReloadOutcome };
  /** `spec`: name, path or package. */
  'plugin.enable': { params: { readonly spec: string }; item: never; result: { readonly name: string } };
  'plugin.disable': { params: { readonly name: string }; item: never; result: Empty };
  /** `pattern`: a topic, or a prefix and `*`. `replay`: how many past events of each topic come first. */
  'events.subscribe': {
    params: { readonly pattern: string; readonly replay?: number };
    item: EventItem | DroppedItem;
    result: Empty;
  };
  'trace.subscribe': {
    params: { readonly plugin?: string; readonly kind?: TraceKind; readonly vm?: string };
    item: TraceItem | DroppedItem;
    result: Empty;
  };
  /** The record first, then what caused it, and so on; empty when it is no longer known. */
  'trace.why': { params: { readonly id: number }; item: never; result: readonly TraceRecord[] };
  'commands.list': { params: Empty; item: never; result: readonly ListedCommand[] };
  'commands.run': { params: RunCommandParams; item: CommandItem; result: { readonly exit: number } };
}

export type MethodName = keyof ControlMethods & string;
export type Params<M extends MethodName> = ControlMethods[M]['params'];
export type Item<M extends MethodName> = ControlMethods[M]['item'];
export type Result<M extends MethodName> = ControlMethods[M]['result'];
/** Methods that only have a result. */
export type PlainMethod = { [M in MethodName]: [Item<M>] extends [never] ? M : never }[MethodName];
/** Methods that send items first. */
export type StreamMethod = Exclude<MethodName, PlainMethod>;
