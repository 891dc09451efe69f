// What the threads of a device process say to each other. Both ends are ours, so messages are typed and not checked.

import type { ErrorRecord } from '@runtime/core/errors';
import type { DeviceStats } from '../device.ts';
import type { TraceBatch } from '../queue-tracer.ts';
import type { SharedQueue } from './shared-queue.ts';

export interface Place {
  readonly root: string;
  readonly file: string;
}

/** For the first message to a thread. */
export interface MateStart extends Place {
  readonly id: string;
  readonly options: unknown;
  readonly fds: Readonly<Record<string, number>>;
}

export interface MateReport {
  readonly described: Readonly<Record<string, unknown>>;
  readonly stats: DeviceStats;
}

/** Method → [parameters, answer]. */
export interface MateMethods {
  start: [MateStart, null];
  startQueue: [SharedQueue, null];
  stopQueue: [number, number];
  setCall: [{ readonly index: number; readonly fd: number }, null];
  setFeatures: [bigint, null];
  writeConfig: [{ readonly offset: number; readonly bytes: Uint8Array }, null];
  reset: [null, null];
  loadState: [Uint8Array, null];
  reload: [Place, null];
  handle: [{ readonly method: string; readonly params: unknown }, unknown];
  report: [null, MateReport];
  trace: [null, TraceBatch];
  close: [null, null];
}
export type MateMethod = keyof MateMethods;

export interface MateRequest {
  readonly kind: 'request';
  readonly id: number;
  readonly method: MateMethod;
  readonly params: unknown;
}
export type MateEvent =
  | { readonly kind: 'broken'; readonly index: number }
  | { readonly kind: 'mended'; readonly index: number }
  | { readonly kind: 'log'; readonly level: 'info' | 'warn'; readonly message: string; readonly fields?: object };
export type FromMate =
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: ErrorRecord }
  | MateEvent;
