// What the process of a plugin may ask of the runtime, as schemas of the arguments. Everything that comes from there goes
// through them.

import { z } from 'zod';
import type { CheckResult } from '../checks.ts';
import type { CommandSpec } from '../commands.ts';
import { COMMAND_SPEC } from '../control/schemas.ts';
import { errors } from '../core-errors.ts';
import type { TapOptions } from '../hooks.ts';
import type { FoundPlugin } from '../loader/types.ts';
import { LOG_LEVELS, type LogLevel } from '../logging.ts';
import type { Handover } from '../plugin.ts';
import type { SpawnRequest } from '../processes/types.ts';
import type { LeaseRequest } from '../resources.ts';
import { HOOK_KINDS, type HookKind, type PoolSpec } from '../tokens.ts';
import { TRACE_KINDS, type TraceKind } from '../tracing.ts';

export interface HookDescription {
  readonly id: string;
  readonly hookKind: HookKind;
  readonly args: readonly string[];
  readonly version: string;
}
export interface PoolDescription {
  readonly id: string;
  readonly spec: PoolSpec;
  readonly version: string;
}
/** A spawn request without what cannot cross: descriptors, streams, functions. */
export type RemoteSpawn = Omit<SpawnRequest, 'fds' | 'stdio' | 'ask' | 'ready'> & {
  readonly ready?: 'spawn' | 'notify' | { readonly line: { readonly source: string; readonly flags: string } };
  /** It has an `ask`. */
  readonly asks: boolean;
};

const name = z.string().min(1).max(512);
const count = z.int().min(0);
const id = z.int();
const values = z.array(z.unknown()).max(1000);
const maybe = <T extends z.ZodType>(schema: T): z.ZodUnion<readonly [T, z.ZodUndefined]> =>
  z.union([schema, z.undefined()]);

const hook: z.ZodType<HookDescription> = z.strictObject({
  id: name,
  hookKind: z.enum(HOOK_KINDS),
  args: z.array(z.string()).max(64),
  version: name,
});
const names = z.union([z.string(), z.array(z.string()).max(1000)]);
const tapOptions: z.ZodType<TapOptions> = z.strictObject({
  stage: z.number().exactOptional(),
  before: names.exactOptional(),
  after: names.exactOptional(),
  timeoutMs: z.number().min(0).exactOptional(),
});
const big = z.bigint();
const poolSpec: z.ZodType<PoolSpec> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('id'), from: big, to: big }),
  z.strictObject({ kind: z.literal('range'), base: big, size: big, align: big.exactOptional() }),
  z.strictObject({ kind: z.literal('path') }),
  z.strictObject({ kind: z.literal('count'), total: big }),
]);
const pool: z.ZodType<PoolDescription> = z.strictObject({ id: name, spec: poolSpec, version: name });
const leaseRequest: z.ZodType<LeaseRequest> = z.strictObject({
  key: z.string().max(1024),
  at: z.union([big, z.string().max(4096)]).exactOptional(),
  size: big.exactOptional(),
  align: big.exactOptional(),
});

const limit = z.union([big, z.literal('unlimited')]);
const ms = z.number().min(0).exactOptional();
const spawn: z.ZodType<RemoteSpawn> = z.strictObject({
  key: z.string(),
  kind: name,
  argv: z.tuple([z.string()], z.string()),
  env: z.record(z.string(), z.string()).exactOptional(),
  cwd: z.string().exactOptional(),
  jail: z.unknown().exactOptional(),
  jailRequired: z.boolean().exactOptional(),
  cgroup: z.string().exactOptional(),
  rlimits: z
    .array(z.strictObject({ resource: z.string(), soft: limit, hard: limit }))
    .max(64)
    .exactOptional(),
  ready: z
    .union([
      z.enum(['spawn', 'notify']),
      z.strictObject({ line: z.strictObject({ source: z.string().max(1000), flags: z.string().max(8) }) }),
    ])
    .exactOptional(),
  readyMs: ms,
  stopMs: z.strictObject({ ask: ms, term: ms, kill: ms }).exactOptional(),
  restart: z
    .strictObject({
      when: z.enum(['never', 'on-failure', 'always']),
      backoffMs: ms,
      maxMs: ms,
      crashLimit: ms,
      windowMs: ms,
    })
    .exactOptional(),
  detached: z.boolean().exactOptional(),
  data: z.unknown().exactOptional(),
  asks: z.boolean(),
});

const logLevels = LOG_LEVELS.filter((level) => level !== 'silent');
type Level = Exclude<LogLevel, 'silent'>;

/** Arguments of what is answered. */
export interface Calls {
  service: [key: string, method: string, args: unknown[]];
  hook: [hook: HookDescription, args: unknown[]];
  spawn: [request: RemoteSpawn];
  'process.ready': [process: number];
  'process.exited': [process: number];
  'process.stop': [process: number];
  'state.read': [name: string];
  'state.write': [name: string, value: unknown];
  'state.remove': [name: string];
  'state.list': [];
  'io.out': [invocation: number, line: string];
  'io.err': [invocation: number, line: string];
  'io.write': [invocation: number, bytes: Uint8Array];
  'io.data': [invocation: number, value: unknown];
  'io.progress': [invocation: number, stage: string, fraction: number | undefined];
  'io.raw': [invocation: number, on: boolean];
  'io.input': [invocation: number];
  'io.write-err': [invocation: number, bytes: Uint8Array];
  'io.resize': [invocation: number];
}
export const CALLS: { readonly [M in keyof Calls]: z.ZodType<Calls[M]> } = {
  service: z.tuple([name, name, values]),
  hook: z.tuple([hook, values]),
  spawn: z.tuple([spawn]),
  'process.ready': z.tuple([id]),
  'process.exited': z.tuple([id]),
  'process.stop': z.tuple([id]),
  'state.read': z.tuple([name]),
  'state.write': z.tuple([name, z.unknown()]),
  'state.remove': z.tuple([name]),
  'state.list': z.tuple([]),
  'io.out': z.tuple([id, z.string()]),
  'io.err': z.tuple([id, z.string()]),
  'io.write': z.tuple([id, z.instanceof(Uint8Array)]),
  'io.data': z.tuple([id, z.unknown()]),
  'io.progress': z.tuple([id, z.string(), maybe(z.number())]),
  'io.raw': z.tuple([id, z.boolean()]),
  'io.input': z.tuple([id]),
  'io.write-err': z.tuple([id, z.instanceof(Uint8Array)]),
  'io.resize': z.tuple([id]),
};

/** Arguments of what is not answered. */
export interface Tells {
  pong: [];
  on: [key: string, pattern: string, replay: number | true];
  off: [key: string];
  emit: [topic: string, data: unknown];
  retain: [topic: string, count: number];
  'listener-failed': [topic: string, event: number, error: unknown];
  log: [level: Level, fields: Readonly<Record<string, unknown>>, message: string];
  track: [work: number, label: string];
  untrack: [work: number];
  'trace.point': [kind: TraceKind, name: string, plugin: string, detail: unknown];
  'trace.span': [span: number, kind: TraceKind, name: string, plugin: string, detail: unknown];
  'trace.label': [span: number, labels: Readonly<Record<string, string>>];
  'trace.caused': [span: number, cause: number];
  'trace.end': [span: number, error: unknown];
}
const span = z.int().max(-1);
export const TELLS: { readonly [M in keyof Tells]: z.ZodType<Tells[M]> } = {
  pong: z.tuple([]),
  on: z.tuple([name, name, z.union([count, z.literal(true)])]),
  off: z.tuple([name]),
  emit: z.tuple([name, z.unknown()]),
  retain: z.tuple([name, count]),
  'listener-failed': z.tuple([name, count, z.unknown()]),
  log: z.tuple([z.enum(logLevels as readonly Level[]), z.record(z.string(), z.unknown()), z.string()]),
  track: z.tuple([id, z.string().max(512)]),
  untrack: z.tuple([id]),
  'trace.point': z.tuple([z.enum(TRACE_KINDS), name, name, z.unknown()]),
  'trace.span': z.tuple([span, z.enum(TRACE_KINDS), name, name, z.unknown()]),
  'trace.label': z.tuple([span, z.record(z.string().max(64), z.string().max(256))]),
  'trace.caused': z.tuple([span, count]),
  'trace.end': z.tuple([span, z.unknown()]),
};

/** Arguments of what is answered while the process waits. */
export interface SyncCalls {
  tap: [key: string, hook: HookDescription, options: TapOptions];
  untap: [key: string];
  hook: [hook: HookDescription, args: unknown[]];
  lease: [pool: PoolDescription, request: LeaseRequest];
  leaseAll: [requests: [pool: PoolDescription, request: LeaseRequest][]];
  release: [pool: string, key: string];
  leases: [];
  command: [key: string, spec: CommandSpec];
  check: [key: string, name: string];
  remove: [key: string];
  history: [topic: string];
  process: [process: number];
  processes: [];
  kill: [process: number, signal: string];
}
export const SYNC_CALLS: { readonly [M in keyof SyncCalls]: z.ZodType<SyncCalls[M]> } = {
  tap: z.tuple([name, hook, tapOptions]),
  untap: z.tuple([name]),
  hook: z.tuple([hook, values]),
  lease: z.tuple([pool, leaseRequest]),
  leaseAll: z.tuple([z.array(z.tuple([pool, leaseRequest])).max(1000)]),
  release: z.tuple([name, z.string().max(1024)]),
  leases: z.tuple([]),
  command: z.tuple([name, COMMAND_SPEC]),
  check: z.tuple([name, name]),
  remove: z.tuple([name]),
  history: z.tuple([name]),
  process: z.tuple([id]),
  processes: z.tuple([]),
  kill: z.tuple([id, z.string().max(16)]),
};

export const CHECK_RESULT: z.ZodType<CheckResult> = z.strictObject({
  status: z.enum(['ok', 'warn', 'fail']),
  found: z.string(),
  remedy: z.string().exactOptional(),
});

/** @throws CORE_ERR_WIRE when what the process answered is not what it should have */
export function parseAs<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw errors.CORE_ERR_WIRE({ details: { why: `${what} is not of its form` }, cause: parsed.error });
}

/** What a process that merely looks at a plugin is asked. */
export type ProbeMethod = 'describe' | 'checkConfig' | 'receiveState';

/** No issues: it is valid. */
export interface Validation {
  readonly issues: readonly { readonly message: string; readonly path?: readonly (string | number)[] }[];
}
export interface ReceivedState extends Validation {
  readonly state: unknown;
}
const issues = z
  .array(z.strictObject({ message: z.string(), path: z.array(z.union([z.string(), z.number()])).exactOptional() }))
  .max(100);
export const VALIDATION: z.ZodType<Validation> = z.strictObject({ issues });
export const RECEIVED: z.ZodType<ReceivedState> = z.strictObject({ issues, state: z.unknown() });

/** With what setup() of the process is called. */
export interface StartMessage {
  readonly found: FoundPlugin;
  /** Package name → URL of a module from which it resolves to the copy that the runtime uses. */
  readonly own: Readonly<Record<string, string>>;
  /** As it stands in the configuration; the process has its own schema. */
  readonly config: unknown;
  readonly previous: Handover<unknown> | undefined;
  /** Keys of `requires` that there is a provider for. */
  readonly services: readonly string[];
  readonly stateDirectory: string;
  /** Instance of the runtime. */
  readonly runtime: string;
}

/** What setup() of the process answers. */
export interface SetupResult {
  readonly services: readonly { readonly id: string; readonly methods: readonly string[] }[];
  /** Phases that the plugin takes part in. */
  readonly phases: readonly Phase[];
}
export const PHASES = ['ready', 'quiesce', 'resume', 'snapshot', 'dispose'] as const;
export type Phase = (typeof PHASES)[number];
export const SETUP_RESULT: z.ZodType<SetupResult> = z.strictObject({
  services: z.array(z.strictObject({ id: name, methods: z.array(name).max(1000) })).max(1000),
  phases: z.array(z.enum(PHASES)),
});

/** A process of the plugin as the plugin sees it. */
export interface ProcessInfo {
  readonly process: number;
  readonly key: string;
  readonly kind: string;
  readonly pid: number | undefined;
  readonly state: string;
  readonly restarts: number;
  readonly detached: boolean;
  readonly data: unknown;
  readonly log: readonly string[];
}
