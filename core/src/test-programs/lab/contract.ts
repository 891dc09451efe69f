// Tokens of the plugin `lab`, which the tests run both in the runtime and in a process of its own.

import {
  defineHook,
  definePool,
  defineService,
  type HookToken,
  type PoolToken,
  type ProcessState,
  type ServiceToken,
} from '@runtime/core';

export interface Tools {
  double(n: bigint): Promise<bigint>;
  fail(): Promise<never>;
  caller(): Promise<string | undefined>;
}
export const tools: ServiceToken<Tools> = defineService<Tools>('tools', { version: '2.1.0' });
export const nobody: ServiceToken<Tools> = defineService<Tools>('nobody', { version: '1.0.0' });

export interface Question {
  readonly text: string;
  readonly answers: readonly string[];
}
export const question: HookToken<'waterfall', readonly [Question], Question> = defineHook<
  readonly [Question],
  Question
>()('lab/question', 'waterfall', ['question']);
export const veto: HookToken<'bail', readonly [string], string> = defineHook<readonly [string], string>()(
  'lab/veto',
  'bail',
  ['what'],
);
export const instant: HookToken<'sync-bail', readonly [number], number> = defineHook<readonly [number], number>()(
  'lab/instant',
  'sync-bail',
  ['n'],
);

export const slots: PoolToken<'id'> = definePool('lab-slots', { kind: 'id', from: 1n, to: 3n });
export const memory: PoolToken<'count'> = definePool('lab-memory', { kind: 'count', total: 100n });

declare module '@runtime/core' {
  interface EventMap {
    'lab:in': unknown;
    'lab:out': unknown;
  }
}

export interface ChildView {
  readonly pid: number | undefined;
  readonly state: ProcessState;
  readonly log: readonly string[];
  readonly kinds: readonly string[];
}

/** Each method does one thing that a plugin may do. */
export interface Lab {
  echo(value: unknown): Promise<unknown>;
  caller(): Promise<string | undefined>;
  fail(): Promise<never>;
  throwNow(): Promise<never>;
  self(): Promise<object>;
  callTools(n: bigint): Promise<readonly [bigint, string | undefined]>;
  callToolsFail(): Promise<string>;
  hasNobody(): Promise<boolean>;
  emit(data: unknown): Promise<void>;
  heard(): Promise<readonly unknown[]>;
  next(): Promise<unknown>;
  nextWithin(ms: number): Promise<string>;
  history(): Promise<readonly unknown[]>;
  ask(text: string): Promise<Question>;
  askVeto(what: string): Promise<string | undefined>;
  askInstant(n: number): Promise<number | undefined>;
  tapInstant(): Promise<string>;
  lease(key: string): Promise<bigint>;
  leaseTwo(a: string, b: string): Promise<readonly unknown[]>;
  release(key: string): Promise<string>;
  count(): Promise<number>;
  pid(): Promise<number>;
  config(): Promise<unknown>;
  previous(): Promise<unknown>;
  document(value: unknown): Promise<unknown>;
  startChild(): Promise<ChildView>;
  stopChild(): Promise<unknown>;
  spawnWithFds(): Promise<string>;
  keep(): Promise<string>;
  traced(): Promise<void>;
  track(): Promise<void>;
  slow(): Promise<string>;
  log(): Promise<void>;
  spin(): Promise<never>;
  crash(): Promise<never>;
  leak(): Promise<never>;
  leakBuffers(): Promise<never>;
  flood(): Promise<void>;
  garbage(text: string, times: number): Promise<void>;
  exitSoon(): Promise<void>;
}
export const lab: ServiceToken<Lab> = defineService<Lab>('lab', { version: '1.0.0' });
