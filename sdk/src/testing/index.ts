// The test kit. It knows no test framework: its examples use vitest, and node:test does as well.

export { type Contract, type ContractCase, defineContract, type RunContractOptions, runContract } from './contract.ts';
export { FakeClock } from './fake-clock.ts';
export { type FakeLogger, fakeLogger, type LogRecord } from './fake-logger.ts';
export { hasDbusDaemon, type PrivateBus, type PrivateBusOptions, startPrivateBus } from './private-bus.ts';
export { provide } from './provide.ts';
export {
  type EventRecording,
  type HookRecording,
  type RecordHookOptions,
  recordEvents,
  recordHook,
} from './recorders.ts';
export { type CommandResult, type RunCommandOptions, runCommand } from './run-command.ts';
export {
  createTestRuntime,
  type TestProblem,
  type TestRuntime,
  type TestRuntimeOptions,
} from './test-runtime.ts';
export { throughMessages } from './through-messages.ts';
export {
  type AvailableEvent,
  type CaptureEvent,
  CaptureWriter,
  parseCapture,
  type UsedEvent,
} from './virtio/capture.ts';
export { captureDriver, captureVirtqueue } from './virtio/capture-record.ts';
export {
  type ReplayDifference,
  type ReplayOptions,
  type ReplayReport,
  type ReplayTarget,
  replayCapture,
} from './virtio/capture-replay.ts';
export { type Begin, DrivenDevice, type DriveOptions, driveDevice } from './virtio/drive-device.ts';
export type { Completion, DriverOptions, DriverQueue, Template } from './virtio/driver.ts';
export { createDriverQueue } from './virtio/driver-queue.ts';
export { type FrontEndOptions, VhostUserFrontEnd } from './virtio/front-end.ts';
export { EchoDevice, type EchoDeviceOptions } from './virtio/front-end-echo.ts';
export {
  mutateSession,
  playSession,
  type Random,
  type ScriptedMessage,
  seededRandom,
} from './virtio/front-end-hostile.ts';
export {
  type BackendAsked,
  type FrontEndAnswer,
  FrontEndLink,
  type RequestOptions,
} from './virtio/front-end-link.ts';
export { createGuestRam, GuestRam, type GuestRamFile, type GuestRamRegion } from './virtio/guest-ram.ts';
export {
  type HostileAct,
  HostileDriver,
  type HostileSegment,
  type RingPartName,
} from './virtio/hostile.ts';
export { type AttackOptions, attackDevice } from './virtio/hostile-guest.ts';
