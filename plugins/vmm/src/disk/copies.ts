// The copies of disk images that other plugins asked for and that go on.

import type { ConvertDiskImage, DiskImages } from '../contract.ts';
import { errors } from '../errors.ts';
import { copyDisk } from './copy.ts';

interface Copy {
  fraction: number;
  readonly controller: AbortController;
}

export class DiskCopies implements DiskImages {
  readonly #copies: Map<string, Copy> = new Map();

  async convert(id: string, { from, to }: ConvertDiskImage): Promise<void> {
    if (this.#copies.has(id)) throw errors.VMM_ERR_DISK_COPY({ details: { id, why: 'there is one of that name' } });
    const copy: Copy = { fraction: 0, controller: new AbortController() };
    this.#copies.set(id, copy);
    const note = (fraction: number): void => {
      copy.fraction = fraction;
    };
    try {
      await copyDisk({ from: { backing: false, ...from }, to }, note, copy.controller.signal);
    } finally {
      this.#copies.delete(id);
    }
  }

  progress(id: string): Promise<number | undefined> {
    return Promise.resolve(this.#copies.get(id)?.fraction);
  }

  cancel(id: string): Promise<void> {
    this.#copies.get(id)?.controller.abort(errors.VMM_ERR_DISK_COPY({ details: { id, why: 'it was cancelled' } }));
    return Promise.resolve();
  }

  cancelAll(): void {
    for (const id of this.#copies.keys()) void this.cancel(id);
  }
}
