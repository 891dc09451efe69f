// An event with ten listeners, as a plugin emits it.

import { EventEmitter } from 'node:events';
import { EventEmitter as EventEmitter3 } from 'eventemitter3';
import type { Benchmark, Side } from '../benchmark.ts';
import { startPlugin } from '../plugin-context.ts';
import { counter, TEN_SYNC, type Tick } from '../ten.ts';

declare module '@runtime/core' {
  interface EventMap {
    'bench:tick': Tick;
  }
}

interface Ours {
  readonly side: Side;
  readonly end: () => Promise<void>;
}

async function ours(): Promise<Ours> {
  const { ctx, end } = await startPlugin();
  const { events } = ctx;
  for (const listener of TEN_SYNC) events.on('bench:tick', listener);
  const side: Side = (iterations) => {
    for (let n = 0; n < iterations; n++) events.emit('bench:tick', { n });
    return counter.sum;
  };
  return { side, end };
}

const benchmarks: readonly Benchmark[] = [
  {
    name: 'emit-10/eventemitter3',
    title: 'event with 10 listeners, beside eventemitter3',
    peer: 'eventemitter3',
    target: { kind: 'ratio', atMost: 1.5 },
    async prepare() {
      const { side, end } = await ours();
      const emitter = new EventEmitter3();
      for (const listener of TEN_SYNC) emitter.on('bench:tick', listener);
      return {
        ours: side,
        peer: (iterations) => {
          for (let n = 0; n < iterations; n++) emitter.emit('bench:tick', { n });
          return counter.sum;
        },
        end,
      };
    },
  },
  {
    name: 'emit-10/node',
    title: "event with 10 listeners, beside Node's EventEmitter",
    peer: 'EventEmitter',
    target: { kind: 'ratio', atMost: 1 },
    async prepare() {
      const { side, end } = await ours();
      const emitter = new EventEmitter();
      for (const listener of TEN_SYNC) emitter.on('bench:tick', listener);
      return {
        ours: side,
        peer: (iterations) => {
          for (let n = 0; n < iterations; n++) emitter.emit('bench:tick', { n });
          return counter.sum;
        },
        end,
      };
    },
  },
];

export default benchmarks;
