// A terminal connected to the console of a VM.

import type { CommandIo } from '@runtime/sdk';
import type { MachineExit, Vms } from '../contract.ts';

/** Ctrl+], as telnet has it. */
export const ESCAPE_KEY = 0x1d;
/** How long one read waits for output, ms. */
const WAIT_MS = 5_000;
/** Bytes given to the machine at once. */
const CHUNK = 4096;
/** A guest that does not read is tried again after this long, ms. */
const RETRY_MS = 50;

export interface ConsoleSession {
  readonly vms: Pick<Vms, 'readConsole' | 'writeConsole'>;
  readonly vm: string;
  readonly io: CommandIo;
  readonly signal: AbortSignal;
  /** Where to begin; default: what is kept. */
  readonly from?: number;
  /** Called with each piece of output. */
  readonly onOutput?: (bytes: Uint8Array) => void;
}

/** `ended`: the machine has; `left`: by the key, or the terminal is gone. */
export type SessionEnd = 'ended' | 'left';

export async function runConsole(session: ConsoleSession): Promise<SessionEnd> {
  const left = new AbortController();
  const signal = AbortSignal.any([session.signal, left.signal]);
  await session.io.raw(true);
  const input = copyInput(session, signal).then(
    () => left.abort(),
    () => left.abort(),
  );
  try {
    return await copyOutput(session, signal);
  } finally {
    left.abort();
    await session.io.raw(false);
    void input;
  }
}

async function copyOutput({ vms, vm, io, from, onOutput }: ConsoleSession, signal: AbortSignal): Promise<SessionEnd> {
  let next = from;
  const gone = new Promise<undefined>((resolve) =>
    signal.addEventListener('abort', () => resolve(undefined), { once: true }),
  );
  while (!signal.aborted) {
    const chunk = await Promise.race([
      vms.readConsole(vm, next === undefined ? { waitMs: WAIT_MS } : { from: next, waitMs: WAIT_MS }),
      gone,
    ]);
    if (chunk === undefined) return 'left';
    if (chunk.missed > 0 && next !== undefined) await io.err(`… ${chunk.missed} bytes were not shown …`);
    if (chunk.bytes.length > 0) {
      onOutput?.(chunk.bytes);
      await io.write(chunk.bytes);
    }
    next = chunk.next;
    if (chunk.ended) return 'ended';
  }
  return 'left';
}

/** Resolves when the user leaves. The end of an input that is no terminal ends nothing: the guest goes on. */
async function copyInput({ vms, vm, io }: ConsoleSession, signal: AbortSignal): Promise<void> {
  for await (const bytes of io.input) {
    if (signal.aborted) return;
    const key = io.terminal.isTTY ? bytes.indexOf(ESCAPE_KEY) : -1;
    const typed = key < 0 ? bytes : bytes.subarray(0, key);
    for (let at = 0; at < typed.length; at += CHUNK) await writeAll(vms, vm, typed.subarray(at, at + CHUNK), signal);
    if (key >= 0) return;
  }
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

async function writeAll(
  vms: Pick<Vms, 'writeConsole'>,
  vm: string,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      return await vms.writeConsole(vm, bytes);
    } catch (e) {
      if ((e as { readonly retryable?: unknown }).retryable !== true) throw e;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

export async function untilEnded(vms: Pick<Vms, 'wait'>, vm: string): Promise<MachineExit> {
  for (;;) {
    const exit = await vms.wait(vm);
    if (exit !== undefined) return exit;
  }
}
