// What the next runtime has to know of a VM that lives on.

import type { StateStore } from '@runtime/sdk';
import { z } from 'zod';
import type { MachineSpec } from '../contract.ts';
import type { VmPlan } from '../description/resolve.ts';
import type { VmHoldings } from './leases.ts';

export interface VmRecord {
  readonly version: 1;
  readonly name: string;
  /** What it was made after; devices that nobody had are not in it. */
  readonly plan: VmPlan;
  readonly cwd: string;
  readonly holdings: VmHoldings;
  /** Sockets by path; descriptors in it mean nothing. */
  readonly spec: MachineSpec;
  readonly startedAt: string;
}

const PREFIX = 'vm/';

const device = z.object({ id: z.string(), kind: z.string() }).loose();
const slots = z.record(z.string(), z.int().min(2).max(30));
const shape = z.object({
  version: z.literal(1),
  name: z.string(),
  plan: z.object({ name: z.string(), devices: z.array(device), natives: z.array(device) }).loose(),
  cwd: z.string(),
  holdings: z.object({ cid: z.int().optional(), slots, macs: z.record(z.string(), z.string()) }),
  spec: z
    .object({ name: z.string(), directory: z.string(), devices: z.array(z.object({ id: z.string() }).loose()) })
    .loose(),
  startedAt: z.string(),
});

export class VmRecords {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  async write(record: VmRecord): Promise<void> {
    await this.#store.write(PREFIX + record.name, record);
  }

  async remove(name: string): Promise<void> {
    await this.#store.remove(PREFIX + name);
  }

  /** Those that can be understood; others are removed. */
  async all(): Promise<readonly VmRecord[]> {
    const names = (await this.#store.list()).filter((name) => name.startsWith(PREFIX));
    const records: VmRecord[] = [];
    for (const name of names) {
      const record = parseRecord(await this.#store.read(name));
      if (record !== undefined && PREFIX + record.name === name) records.push(record);
      else await this.#store.remove(name);
    }
    return records;
  }
}

/** Our own writing, but a file: its shape is looked at, not every value. */
export function parseRecord(value: unknown): VmRecord | undefined {
  const { success, data } = shape.safeParse(value);
  return success ? (data as unknown as VmRecord) : undefined;
}
