// The snapshots of this user, in the cache.

import { join } from 'node:path';
import { imageCache } from '@runtime/sdk/image';
import { Snapshots, type SnapshotsOptions } from './snapshots.ts';
import { SnapshotStore } from './store.ts';

/** Of some 150 MiB each. */
const MAX_SNAPSHOTS = 4;

export function openSnapshots(options: Omit<SnapshotsOptions, 'store'>): Snapshots {
  return new Snapshots({ ...options, store: snapshotStore() });
}

export function snapshotStore(): SnapshotStore {
  return new SnapshotStore({ folder: join(imageCache(), 'snapshots'), max: MAX_SNAPSHOTS });
}
