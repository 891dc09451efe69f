// Has a task done in a thread.

import { Worker } from 'node:worker_threads';
import { fromErrorRecord } from '@runtime/sdk';
import type { DiskTask, TaskMessage, TaskResults } from './worker-tasks.ts';

/** Compiled, it lies beside this as `.js`. */
const WORKER = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

/** When it rejects or resolves, the thread has ended and uses no descriptor any more. @throws what the task did, the reason of the signal */
export async function runTask<T extends DiskTask>(
  task: T,
  onProgress: (fraction: number) => void,
  signal: AbortSignal,
): Promise<TaskResults[T['kind']]> {
  signal.throwIfAborted();
  const worker = new Worker(WORKER, { workerData: task });
  const result = Promise.withResolvers<TaskResults[T['kind']]>();
  worker.on('message', (message: TaskMessage) => {
    if (message.kind === 'progress') onProgress(message.fraction);
    if (message.kind === 'done') result.resolve(message.result as TaskResults[T['kind']]);
    if (message.kind === 'failed') result.reject(fromErrorRecord(message.error));
  });
  worker.on('error', result.reject);
  worker.on('exit', (code) => result.reject(new Error(`the thread ended with ${code}`)));
  const giveUp = (): void => result.reject(signal.reason);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await result.promise;
  } finally {
    signal.removeEventListener('abort', giveUp);
    await worker.terminate();
  }
}
