// The public surface of the core.

export * from './checks.ts';
export * from './clock.ts';
export * from './commands.ts';
export { coreErrorTable } from './core-errors.ts';
export * from './errors.ts';
export * from './events.ts';
export type { CallResult, HookBus, TapFunction, TapOptions } from './hooks.ts';
export type { NativeHost, PeerCredentials } from './host.ts';
export type { KeeperKind, KeeperKinds, Keepers } from './keepers.ts';
export type { PluginState } from './lifecycle.ts';
export { TRANSITIONS } from './lifecycle.ts';
export type * from './loader/types.ts';
export * from './logging.ts';
export { didYouMean, nearest } from './nearest.ts';
export * from './plugin.ts';
export * from './processes/types.ts';
export type { NormalRequirement, Optional, Ranged, Requirement, Requires, Resolved } from './requirements.ts';
export { needs, normalizeRequirement, optional } from './requirements.ts';
export type { Lease, LeaseInfo, LeaseRequest, LeaseState, PoolLeases, ResourceAllocator } from './resources.ts';
export { createRuntime } from './runtime.ts';
export * from './runtime-types.ts';
export { Scope } from './scope.ts';
export type { StateStore } from './state-store.ts';
export * from './tokens.ts';
export { TraceRecorder } from './trace-recorder.ts';
export * from './tracing.ts';
export { CORE_VERSION } from './version.ts';
