// The default guest, before a VM is started with it: the first time, packages are downloaded, which is to be seen.

import type { CommandIo } from '@runtime/sdk';
import { ensureDefaultGuest } from '../guest/default-guest.ts';

export async function prepareGuest(io: CommandIo): Promise<void> {
  let told: Promise<void> = Promise.resolve();
  await ensureDefaultGuest({
    onProgress: ({ what, done, total }) => {
      const fraction = done === undefined || total === undefined ? undefined : done / total;
      told = told.then(() => io.progress(what, fraction));
    },
  });
  await told;
}
