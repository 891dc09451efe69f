// What the next runtime has to know of a container that lives on: nobody else knows its token.

import type { StateStore } from '@runtime/sdk';
import { z } from 'zod';
import type { VmKey } from '../concierge/names.ts';
import type { KnownContainer } from './seat.ts';

const PREFIX = 'container/';

const recordSchema = z.strictObject({
  version: z.literal(1),
  name: z.string().max(64),
  owner: z.string(),
  vm: z.string(),
  token: z.string().min(1).max(64),
  /** 0: it has not called yet. */
  garconPort: z.int().min(0).max(0xffff_ffff),
  username: z.string().max(256).optional(),
  homedir: z.string().max(4096).optional(),
  ipv4: z.ipv4().optional(),
});

export type ContainerRecord = z.infer<typeof recordSchema>;

export class ContainerRecords {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  async write({ owner, name: vm }: VmKey, container: KnownContainer): Promise<void> {
    const { name, token, garconPort, username, homedir, ipv4 } = container;
    const record = { version: 1, name, owner, vm, token, garconPort, username, homedir, ipv4 } as const;
    // What is undefined is left out of a document.
    await this.#store.write(placeOf({ owner, name: vm }, name), JSON.parse(JSON.stringify(record)));
  }

  async remove(key: VmKey, container: string): Promise<void> {
    await this.#store.remove(placeOf(key, container));
  }

  async removeAll(key: VmKey): Promise<void> {
    for (const name of await this.#namesOf(key)) await this.#store.remove(name);
  }

  /** Those of this VM that can be understood. */
  async of(key: VmKey): Promise<readonly ContainerRecord[]> {
    const records: ContainerRecord[] = [];
    for (const name of await this.#namesOf(key)) {
      const { success, data } = recordSchema.safeParse(await this.#store.read(name));
      if (success && placeOf(key, data.name) === name) records.push(data);
      else await this.#store.remove(name);
    }
    return records;
  }

  async #namesOf(key: VmKey): Promise<readonly string[]> {
    const prefix = placeOf(key, '');
    return (await this.#store.list()).filter((name) => name.startsWith(prefix));
  }
}

/** Names of VMs may have slashes, those of containers have none. */
function placeOf({ owner, name }: VmKey, container: string): string {
  return `${PREFIX}${owner}/${encodeURIComponent(name)}/${container}`;
}
