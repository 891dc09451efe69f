// A disk for the default guest when none is given: empty, and gone when the guest is.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BYTES = 64 * 2 ** 20;
/** The guest writes only to a disk of this serial when it checks itself. */
const SERIAL = 'scratch';

export interface ScratchDisk extends Disposable {
  readonly block: { readonly path: string; readonly id: string };
}

export function makeScratchDisk(): ScratchDisk {
  const folder = mkdtempSync(join(tmpdir(), 'runtime-disk-'));
  const path = join(folder, 'scratch.img');
  writeFileSync(path, '', { mode: 0o600 });
  // Takes no space before the guest writes.
  truncateSync(path, BYTES);
  return {
    block: { path, id: SERIAL },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
