// What all children of one runtime share.

import type { Clock } from '../clock.ts';
import type { EventMap } from '../events.ts';
import type { NativeHost } from '../host.ts';
import type { Logger } from '../logging.ts';
import type { Tracer } from '../tracing.ts';
import type { FamilySweeper } from './descendants.ts';
import type { DescriptorSeal } from './descriptor-seal.ts';
import type { RecordStore } from './records.ts';
import type { SpawnPlan } from './types.ts';
import type { DeathSignal } from './wrappers.ts';

export type ProcessTopic = Extract<keyof EventMap, `process:${string}`>;

export interface ProcessWorld {
  readonly instance: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly tracer: Tracer;
  readonly emit: <T extends ProcessTopic>(topic: T, data: EventMap[T]) => void;
  readonly callBeforeSpawn: (plan: SpawnPlan) => Promise<SpawnPlan>;
  readonly native: NativeHost | undefined;
  readonly random: () => number;
  readonly records: RecordStore;
  readonly sweeper: FamilySweeper;
  readonly deathSignal: DeathSignal;
  readonly descriptorSeal: DescriptorSeal;
  /** Plugins of which it was said that a child runs without its jail: once is enough, there may be many children. */
  readonly toldUnjailed: Set<string>;
  /** Where the output of a detached child goes. */
  readonly logFile: (plugin: string, key: string) => string;
}
