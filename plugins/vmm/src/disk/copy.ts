// Has a disk image copied in a thread.

import { rmSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { fromErrorRecord } from '@runtime/sdk';
import type { ConvertDiskOptions } from './convert.ts';
import type { CopyMessage } from './copy-worker.ts';

/** Compiled, it lies beside this as `.js`. */
const WORKER = new URL(import.meta.url.endsWith('.ts') ? './copy-worker.ts' : './copy-worker.js', import.meta.url);

/** A copy that is given up leaves nothing behind. @throws VMM_ERR_DISK_…, the reason of the signal */
export async function copyDisk(
  options: Omit<ConvertDiskOptions, 'progress'>,
  onProgress: (fraction: number) => void,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const worker = new Worker(WORKER, { workerData: options });
  const result = Promise.withResolvers<void>();
  let begun = false;
  worker.on('message', (message: CopyMessage) => {
    begun ||= message.kind === 'progress';
    if (message.kind === 'progress') onProgress(message.total === 0 ? 1 : message.done / message.total);
    if (message.kind === 'done') result.resolve();
    if (message.kind === 'failed') result.reject(fromErrorRecord(message.error));
  });
  worker.on('error', result.reject);
  worker.on('exit', (code) => result.reject(new Error(`the thread ended with ${code}`)));
  const giveUp = (): void => result.reject(signal.reason);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await result.promise;
  } finally {
    signal.removeEventListener('abort', giveUp);
    await worker.terminate();
    // What was there before was refused, so that what is there now is of this copy.
    if (signal.aborted && begun) rmSync(options.to.path, { force: true });
  }
}
