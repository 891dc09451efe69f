// What the next runtime has to know of a VM that lives on.

import type { StateStore } from '@runtime/sdk';
import { z } from 'zod';
import { keyText, type VmKey } from './names.ts';

const PREFIX = 'vm/';

const recordSchema = z.strictObject({
  version: z.literal(1),
  name: z.string(),
  owner: z.string(),
  machine: z.string(),
  /** `starting`: whoever started it did not get to its end. */
  state: z.enum(['starting', 'running']),
  type: z.enum(['termina', 'baguette']),
  profile: z.enum(['full', 'fast']),
  image: z.string(),
  /** First address of its network, as a number. */
  subnet: z.int().min(0).max(0xffff_ffff),
  /** What leads it to the network; left out: passt. */
  network: z.enum(['passt', 'tap']).optional(),
  startedAt: z.string(),
});

export type VmRecord = z.infer<typeof recordSchema>;

export class VmRecords {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  async write(record: VmRecord): Promise<void> {
    await this.#store.write(PREFIX + keyText(record), record);
  }

  async remove(key: VmKey): Promise<void> {
    await this.#store.remove(PREFIX + keyText(key));
  }

  /** Those that can be understood; others are removed. */
  async all(): Promise<readonly VmRecord[]> {
    const names = (await this.#store.list()).filter((name) => name.startsWith(PREFIX));
    const records: VmRecord[] = [];
    for (const name of names) {
      const { success, data } = recordSchema.safeParse(await this.#store.read(name));
      if (success && PREFIX + keyText(data) === name) records.push(data);
      else await this.#store.remove(name);
    }
    return records;
  }
}
