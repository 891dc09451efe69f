// A command in a guest, at the terminal or the pipes of whoever asked for it.

import type { Readable, Writable } from 'node:stream';
import type { CommandIo } from '@runtime/sdk';
import type { VshSession, VshWindow } from '../vsh/client.ts';

/** How long a command may take to end once it was interrupted, ms. */
const INTERRUPT_MS = 2_000;
/** 128 and the number of SIGINT. */
const EXIT_INTERRUPTED = 130;

export function windowOf({ terminal: { rows, columns } }: CommandIo): VshWindow {
  return { rows, columns };
}

/** Keys go to the guest as they are typed, and its terminal follows the size of this one. @throws as VshSession.exit */
export async function attachTerminal(session: VshSession, io: CommandIo, signal: AbortSignal): Promise<number> {
  await io.raw(true);
  void follow(session, io);
  try {
    return await attach(session, io, signal, 'SIGHUP');
  } finally {
    await io.raw(false);
  }
}

/** @throws as VshSession.exit */
export async function attachPipes(session: VshSession, io: CommandIo, signal: AbortSignal): Promise<number> {
  return await attach(session, io, signal, 'SIGINT');
}

/** @param farewell what the guest is told when the caller wants no more */
async function attach(
  session: VshSession,
  io: CommandIo,
  signal: AbortSignal,
  farewell: 'SIGHUP' | 'SIGINT',
): Promise<number> {
  let timer: NodeJS.Timeout | undefined;
  const interrupt = (): void => {
    session.signal(farewell);
    timer = setTimeout(() => session[Symbol.dispose](), INTERRUPT_MS);
  };
  signal.addEventListener('abort', interrupt, { once: true });
  if (signal.aborted) interrupt();
  // Not waited for: it may wait for a key.
  void copyInput(session, io).catch(() => session[Symbol.dispose]());
  try {
    const outputs = [
      copyOutput(session.stdout, (bytes) => io.write(bytes)),
      copyOutput(session.stderr, (bytes) => io.writeErr(bytes)),
    ];
    const [code] = await Promise.all([session.exit, ...outputs]);
    return code;
  } catch (e) {
    if (signal.aborted) return EXIT_INTERRUPTED;
    throw e;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', interrupt);
    session[Symbol.dispose]();
  }
}

async function copyInput({ stdin }: VshSession, io: CommandIo): Promise<void> {
  for await (const bytes of io.input) {
    if (stdin.destroyed) return;
    if (!stdin.write(bytes)) await drained(stdin);
  }
  stdin.end();
}

/** Or closed. */
async function drained(stream: Writable): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const event of ['drain', 'close']) stream.on(event, resolve);
  await promise;
  for (const event of ['drain', 'close']) stream.off(event, resolve);
}

async function copyOutput(output: Readable, write: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  for await (const bytes of output) await write(bytes);
}

async function follow(session: VshSession, io: CommandIo): Promise<void> {
  for await (const { rows, columns } of io.resizes) session.resize({ rows, columns });
}
