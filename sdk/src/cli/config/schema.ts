// What may be in the configuration. docs/reference/config.md is made from these schemas.

import {
  DEFAULT_TIMEOUTS,
  type FailurePolicy,
  LOG_LEVELS,
  type LogLevel,
  type PluginSettings,
  type PoolSpec,
  type RuntimeTimeouts,
} from '@runtime/core';
import { z } from 'zod';

/** The whole configuration after all layers are laid over each other. */
export interface RuntimeConfig {
  readonly plugins: readonly string[];
  readonly settings: Readonly<Record<string, PluginSettings>>;
  readonly services: Readonly<Record<string, string>>;
  readonly pools: Readonly<Record<string, PoolSpec>>;
  readonly timeouts: Partial<RuntimeTimeouts>;
  readonly log: { readonly level: LogLevel };
  readonly trace: { readonly history: number };
  readonly events: { readonly history?: number; readonly listenerLimit?: number };
  readonly onFailure: FailurePolicy;
}

/** What holds where no layer says otherwise. */
export const CONFIG_DEFAULTS: RuntimeConfig = {
  plugins: [],
  settings: {},
  services: {},
  pools: {},
  timeouts: DEFAULT_TIMEOUTS,
  log: { level: 'info' },
  trace: { history: 4_096 },
  events: { history: 16, listenerLimit: 100 },
  onFailure: 'abort',
};

const DAY_MS = 86_400_000;
const ms = z.int().min(1).max(DAY_MS);
const name = z.string().min(1).max(128);
const onFailure = z.enum(['abort', 'continue']);

/** YAML and JSON numbers are exact up to 2^53; larger ones are written as text, also in hexadecimal. */
const big = z.union([
  z.bigint(),
  z.int().transform((n) => BigInt(n)),
  z
    .string()
    .regex(/^(?:\d{1,40}|0x[\da-f]{1,32})$/i, 'not a whole number')
    .transform((s) => BigInt(s)),
]);

const pool = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('id'), from: big, to: big }),
  z.strictObject({ kind: z.literal('range'), base: big, size: big, align: big.exactOptional() }),
  z.strictObject({ kind: z.literal('path') }),
  z.strictObject({ kind: z.literal('count'), total: big }),
]);

const phases = {
  setupMs: ms.exactOptional().describe('of setup of one plugin'),
  readyMs: ms.exactOptional().describe('of ready of one plugin'),
  quiesceMs: ms.exactOptional().describe('for a plugin to finish its work before a reload or stop'),
  disposeMs: ms.exactOptional().describe('of dispose of one plugin'),
};

const pluginSettings = z.strictObject({
  config: z.unknown().exactOptional().describe("the plugin's own settings; it checks them itself"),
  isolation: z.enum(['in-process', 'process']).exactOptional().describe('where its code runs'),
  limits: z
    .strictObject({
      memoryMb: z.int().min(16).max(1_048_576).exactOptional().describe('heap of its process in MiB; default 256'),
      unresponsiveMs: ms.exactOptional().describe('ms without an answer before it is ended; default 5000'),
      messagesPerSecond: z.int().min(1).max(10_000_000).exactOptional().describe('averaged; default 20000'),
    })
    .exactOptional()
    .describe('of a plugin in a process of its own'),
  onFailure: onFailure.exactOptional().describe('overrides onFailure below'),
  timeouts: z.strictObject(phases).exactOptional().describe('deadlines in ms that override those for all plugins'),
});

/** One layer: everything may be left out. */
export const layerSchema = z.strictObject({
  plugins: z
    .array(z.string().min(1).max(4_096))
    .max(1_000)
    .exactOptional()
    .describe('what to load: names, npm packages or paths'),
  settings: z.record(name, pluginSettings).exactOptional().describe('per plugin name'),
  services: z
    .record(name, name)
    .exactOptional()
    .describe('service id → plugin that is to provide it, where several could'),
  pools: z.record(name, pool).exactOptional().describe('pool id → bounds that replace those in the code'),
  timeouts: z
    .strictObject({
      ...phases,
      tapMs: ms.exactOptional().describe('of an asynchronous tap'),
      swapMs: ms.exactOptional().describe('that a call waits for a plugin being reloaded'),
      startMs: ms.exactOptional().describe('of the start as a whole'),
    })
    .exactOptional()
    .describe('deadlines in ms'),
  log: z.strictObject({ level: z.enum(LOG_LEVELS).exactOptional() }).exactOptional(),
  trace: z
    .strictObject({
      history: z
        .int()
        .min(0)
        .max(1_000_000)
        .exactOptional()
        .describe('records kept for `runtime trace --why`; 0 records nothing'),
    })
    .exactOptional(),
  events: z
    .strictObject({
      history: z.int().min(0).max(65_536).exactOptional().describe('events kept per topic for late subscribers'),
      listenerLimit: z
        .int()
        .min(1)
        .max(1_000_000)
        .exactOptional()
        .describe('listeners per topic above which a leak is logged'),
    })
    .exactOptional(),
  onFailure: onFailure.exactOptional().describe('a plugin that fails to start ends the start, or is left out'),
});
export type ConfigLayer = z.output<typeof layerSchema>;
