// Copies a disk image in a thread of its own: it takes long, and the runtime has VMs to look after meanwhile.

import { parentPort, workerData } from 'node:worker_threads';
import { toErrorRecord } from '@runtime/sdk';
import { type ConvertDiskOptions, convertDisk } from './convert.ts';

export type CopyMessage =
  | { readonly kind: 'progress'; readonly done: number; readonly total: number }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: ReturnType<typeof toErrorRecord> };

const tell = (message: CopyMessage): void => parentPort?.postMessage(message);

try {
  convertDisk({
    ...(workerData as ConvertDiskOptions),
    progress: (done, total) => tell({ kind: 'progress', done, total }),
  });
  tell({ kind: 'done' });
} catch (e) {
  tell({ kind: 'failed', error: toErrorRecord(e) });
}
