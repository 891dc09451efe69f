// The limits of a plugin in a process of its own.

import type { IsolationLimits } from '../runtime-types.ts';
import { MAX_FRAME } from '../wire/frames.ts';

export interface HostLimits {
  /** MiB of heap that belongs to JavaScript objects. */
  readonly memoryMb: number;
  /** Milliseconds without any sign of life. */
  readonly unresponsiveMs: number;
  readonly messagesPerSecond: number;
}

export function hostLimits(given: IsolationLimits): HostLimits {
  return {
    memoryMb: given.memoryMb ?? 256,
    unresponsiveMs: given.unresponsiveMs ?? 5_000,
    messagesPerSecond: given.messagesPerSecond ?? 20_000,
  };
}

export const FRAME_BYTES: number = MAX_FRAME;
/** Calls of the plugin that may be under way. */
export const MAX_CALLS = 10_000;
/** Listeners, taps, leases, commands, checks and processes of one plugin. */
export const MAX_REGISTRATIONS = 10_000;
/** Bytes that may wait for the plugin to read them; more are a plugin that does not read. */
export const MAX_UNREAD = 64 * 1024 * 1024;
/** MiB beyond the heap that a process may take: code, stacks, buffers. */
export const MEMORY_BESIDE_HEAP = 256;
/** Milliseconds of sending more than it may after which a plugin is ended rather than slowed down. */
export const FLOOD_MS = 10_000;
/** Milliseconds that a call waits for a process that is being started again. */
export const RESTART_WAIT_MS = 10_000;
/** Milliseconds before the first restart; doubles at each up to the second number. */
export const BACKOFF_MS: readonly [first: number, most: number] = [100, 5_000];
/** So many ends within so many milliseconds are a crash loop. */
export const CRASH_LIMIT = 5;
export const CRASH_WINDOW_MS = 60_000;
/** Milliseconds that describing a plugin, or checking its configuration or state, may take. */
export const PROBE_MS = 10_000;
/** Milliseconds after which a process that does so, and has no more to do, ends. */
export const PROBE_IDLE_MS = 1_000;

/** Descriptors of the child. */
export const MESSAGE_FD = 3;
export const SYNC_FD = 4;
