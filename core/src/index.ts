// The public surface of the core.

export type { Check, CheckRegistry, CheckReport, CheckResult, CheckStatus } from './checks.ts';
export { type Clock, sleep, systemClock, withDeadline } from './clock.ts';
export type {
  CommandArgument,
  CommandHandler,
  CommandIo,
  CommandOption,
  CommandRegistry,
  CommandSpec,
  CommandTerminal,
  Invocation,
  OptionType,
  OptionValues,
  TerminalSize,
} from './commands.ts';
export { coreErrorTable } from './core-errors.ts';
export * from './errors.ts';
export type {
  EventBus,
  EventListener,
  EventMap,
  EventName,
  EventPattern,
  ListenOptions,
  Matching,
  OnceOptions,
  RuntimeEvent,
} from './events.ts';
export type { CallResult, HookBus, TapFunction, TapOptions } from './hooks.ts';
export type { NativeHost, PeerCredentials } from './host.ts';
export type { KeeperKind, KeeperKinds, Keepers } from './keepers.ts';
export { Latest } from './latest.ts';
export { type PluginState, TRANSITIONS } from './lifecycle.ts';
export { findPlugin, findPlugins, listPlugins, type Places, type PluginListing } from './loader/find.ts';
export { PLUGIN_NAME } from './loader/manifest.ts';
export { createLoader, type LoaderOptions } from './loader/production-loader.ts';
export type * from './loader/types.ts';
export { checkPlugin, matchManifest } from './loader/validate.ts';
export * from './logging.ts';
export { didYouMean, nearest } from './nearest.ts';
export * from './plugin.ts';
export type { Ask } from './pools.ts';
export * from './processes/types.ts';
// Nothing but its event, which a declaration file would leave out otherwise.
export type {} from './reload.ts';
export {
  type NormalRequirement,
  needs,
  normalizeRequirement,
  type Optional,
  optional,
  type Ranged,
  type Requirement,
  type Requires,
  type Resolved,
} from './requirements.ts';
export type {
  AnyPoolToken,
  Lease,
  LeaseInfo,
  LeaseRequest,
  LeaseState,
  PoolLeases,
  ResourceAllocator,
} from './resources.ts';
export { createRuntime } from './runtime.ts';
export * from './runtime-types.ts';
export { explainIssues, explainStandardIssues, type FoundIssue, formatPath, issuesToText } from './schema-issues.ts';
export { type Cleanup, Scope } from './scope.ts';
export type { StateStore } from './state-store.ts';
export * from './tokens.ts';
export { TraceRecorder } from './trace-recorder.ts';
export {
  TRACE_KINDS,
  type TraceKind,
  type TracePhase,
  type TraceRecord,
  Tracer,
  traceChannels,
} from './tracing.ts';
export { CORE_VERSION } from './version.ts';
