// The three ways in which a child says that it is ready.

import { type FileHandle, open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../clock.ts';
import type { LaunchedProcess } from './launched.ts';
import { LineSplitter, type OutputCapture } from './output.ts';
import type { ReadySignal } from './types.ts';

const READY_MESSAGE = 'READY=1\n';
/** Bytes that a child may write to the descriptor before it says that it is ready. */
const MAX_MESSAGE = 4096;
/** Milliseconds between looks at the log file of a detached child. */
const LOOK_MS = 20;

interface ReadinessOptions {
  readonly child: LaunchedProcess;
  readonly ready: ReadySignal;
  readonly output: OutputCapture;
  /** Of a detached child, whose output does not come here. */
  readonly logFile: { readonly path: string; readonly from: number } | undefined;
  /** Aborted when nobody waits any more. */
  readonly signal: AbortSignal;
}

/** `late`: it still runs, and has not said so within `readyMs`. */
export async function waitUntilReady(
  options: Omit<ReadinessOptions, 'signal'> & { readonly readyMs: number; readonly clock: Clock },
): Promise<'ready' | 'ended' | 'late'> {
  const { child, readyMs, clock } = options;
  const over = new AbortController();
  const late = Promise.withResolvers<'late'>();
  const timer = clock.after(readyMs, () => late.resolve('late'));
  try {
    const outcome = await Promise.race([
      becomesReady({ ...options, signal: over.signal }).then(() => 'ready' as const),
      child.ended.then(() => 'ended' as const),
      late.promise,
    ]);
    if (outcome === 'ended') await child.drained();
    return outcome;
  } finally {
    timer[Symbol.dispose]();
    over.abort();
  }
}

/** Resolves when the child says so, if it ever does. */
async function becomesReady({ child, ready, output, logFile, signal }: ReadinessOptions): Promise<void> {
  if (ready === 'spawn') return;
  if (ready === 'notify') return child.readySocket === undefined ? undefined : notified(child.readySocket, signal);
  // A copy without `g` and `y`, which would make the answer depend on the line before.
  const pattern = new RegExp(ready.line.source, ready.line.flags.replace(/[gy]/g, ''));
  if (logFile !== undefined) return lineInFile(logFile.path, logFile.from, pattern, signal);
  return lineInOutput(output, pattern, signal);
}

function notified(socket: Readable, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let received = '';
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      // sd_notify(3): assignments, one a line, in any order.
      const ready = `\n${received}`.includes(`\n${READY_MESSAGE}`);
      if (ready || received.length > MAX_MESSAGE) socket.destroy();
      if (ready) resolve();
    });
    signal.addEventListener('abort', () => socket.destroy(), { once: true });
  });
}

function lineInOutput(output: OutputCapture, pattern: RegExp, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      output.onLine = undefined;
    };
    const look = (line: string): void => {
      if (!pattern.test(line)) return;
      done();
      resolve();
    };
    signal.addEventListener('abort', done, { once: true });
    output.onLine = look;
    // What it printed before it was looked at.
    for (const line of output.freshLines) look(line);
  });
}

async function lineInFile(path: string, from: number, pattern: RegExp, signal: AbortSignal): Promise<void> {
  let found = false;
  const splitter = new LineSplitter((line) => {
    found ||= pattern.test(line);
  });
  const handle = await open(path, 'r');
  try {
    let position = from;
    while (!found && !signal.aborted) {
      const bytes = await readSome(handle, position, splitter);
      position += bytes;
      if (bytes === 0) await pause(LOOK_MS);
    }
  } finally {
    await handle.close();
  }
}

async function readSome(handle: FileHandle, position: number, splitter: LineSplitter): Promise<number> {
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(16_384), 0, 16_384, position);
  splitter.push(buffer.subarray(0, bytesRead));
  return bytesRead;
}
