// What a device costs by having a process of its own: the time until it is there, and memory while it has nothing to do.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Benchmark, Sized, Timed } from '../benchmark.ts';
import { DeviceProcesses, proportionalSetSize } from '../device-processes.ts';
import { quantile } from '../measure.ts';
import { EMPTY_NODE, starting } from '../start-process.ts';

const IDLE = 8;
/** What only the start needed is given back by then. */
const SETTLED_MS = 5_000;

function idle(kind: string): Benchmark {
  return {
    name: `device/idle-${kind}`,
    title: `proportional memory (PSS) of each of eight idle processes of the device \`${kind}\``,
    target: { kind: 'size', atMostBytes: 12 * 2 ** 20 },
    // One round of eight; the first ones leave their compiled code to those that come later.
    plan: { iterations: 1, rounds: 1, warmUp: 1 },
    async prepare() {
      const processes = await DeviceProcesses.open();
      return {
        ours: async () => {
          const devices = await Promise.all(Array.from({ length: IDLE }, () => processes.start(kind)));
          await sleep(SETTLED_MS);
          const sizes = devices.map(({ pid }) => proportionalSetSize(pid));
          await Promise.all(devices.map((device) => device.stop()));
          // The largest: what is promised is promised of each.
          return new Sized(quantile(sizes, 1));
        },
        end: () => processes[Symbol.asyncDispose](),
      };
    },
  };
}

const benchmarks: readonly Benchmark[] = [
  {
    name: 'device/ready',
    title: 'process of a disk, from the wish for it until it has its device',
    peer: 'empty Node',
    target: { kind: 'absolute', atMostNs: 60e6 },
    plan: { iterations: 1, rounds: 25 },
    async prepare() {
      const processes = await DeviceProcesses.open();
      return {
        ours: async (iterations) => {
          let ns = 0;
          for (let i = 0; i < iterations; i++) {
            const startedAt = process.hrtime.bigint();
            const device = await processes.start('block');
            ns += Number(process.hrtime.bigint() - startedAt);
            await device.stop();
          }
          return new Timed(ns);
        },
        peer: starting({ cwd: process.cwd(), env: process.env, argv: EMPTY_NODE, ready: 'ready' }),
        end: () => processes[Symbol.asyncDispose](),
      };
    },
  },
  idle('block'),
  idle('rng'),
];

export default benchmarks;
