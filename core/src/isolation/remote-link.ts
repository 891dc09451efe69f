// The plugin's end of the connection to the runtime.

import { AsyncLocalStorage } from 'node:async_hooks';
import { readSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { errors } from '../core-errors.ts';
import { encodeFrame, FrameDecoder } from '../wire/frames.ts';
import { decodeValue, encodeValue, type JsonObject } from '../wire/value.ts';
import { FRAME_BYTES, SYNC_FD } from './limits.ts';
import type { Calls, SyncCalls, Tells } from './messages.ts';
import { Rpc, type RpcHandlers } from './rpc.ts';

/** The runtime answers within a millisecond; this is for one that is stopped in a debugger. */
const SYNC_MS = 60_000;
/** Milliseconds between two looks for the answer, first and at most. */
const SYNC_POLL: readonly [first: number, most: number] = [0.02, 2];

/** Number of the work of the runtime that the present code runs for. */
const work = new AsyncLocalStorage<number | undefined>();

export class RemoteLink {
  readonly #rpc: Rpc;
  readonly #syncDecoder: FrameDecoder = new FrameDecoder(FRAME_BYTES);
  readonly #syncChunk: Buffer = Buffer.alloc(64 * 1024);
  readonly #pause: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  #lastSync = 0;
  #answer: JsonObject | undefined;

  constructor(socket: Socket, handlers: RpcHandlers) {
    this.#rpc = new Rpc({
      write: (frame) => void socket.write(frame),
      handlers: {
        call: (method, args, context, signal) => work.run(context, () => handlers.call(method, args, context, signal)),
        tell: (method, args, context) => work.run(context, () => handlers.tell(method, args, context)),
      },
      frameBytes: FRAME_BYTES,
      // The runtime is trusted.
      maxCalls: Number.POSITIVE_INFINITY,
      context: () => work.getStore(),
    });
  }

  /** @throws CORE_ERR_WIRE when the runtime does not keep to the protocol */
  receive(chunk: Uint8Array): void {
    this.#rpc.receive(chunk);
  }

  call<M extends keyof Calls>(method: M, ...args: Calls[M]): Promise<unknown> {
    return this.#rpc.call(method, args);
  }

  tell<M extends keyof Tells>(method: M, ...args: Tells[M]): void {
    this.#rpc.tell(method, args);
  }

  /** Runs `fn` as part of the work of that number. */
  within<T>(context: number, fn: () => T): T {
    return work.run(context, fn);
  }

  /** Blocks until the runtime has answered. @throws what it throws */
  callSync<M extends keyof SyncCalls>(method: M, ...args: SyncCalls[M]): unknown {
    this.#lastSync += 1;
    const id = this.#lastSync;
    const context = work.getStore();
    const request = { id, m: method, a: encodeValue(args), ...(context === undefined ? {} : { p: context }) };
    const deadline = performance.now() + SYNC_MS;
    const late = (): Error => errors.CORE_ERR_CONTROL_DEADLINE({ details: { method, ms: SYNC_MS } });
    this.#writeAll(Buffer.from(encodeFrame(request, FRAME_BYTES)), deadline, late);
    let answer = this.#answer;
    // An answer that came too late for an earlier request is passed over.
    while (answer?.id !== id) {
      this.#read(deadline, late);
      answer = this.#answer;
    }
    this.#answer = undefined;
    if (answer.e === undefined) return decodeValue(answer.v ?? null);
    throw decodeValue(answer.e);
  }

  #writeAll(bytes: Buffer, deadline: number, late: () => Error): void {
    for (let at = 0; at < bytes.length; ) {
      at += this.#retry(() => writeSync(SYNC_FD, bytes, at), deadline, late);
    }
  }

  #read(deadline: number, late: () => Error): void {
    const length = this.#retry(() => readSync(SYNC_FD, this.#syncChunk), deadline, late);
    // The runtime is gone, and nothing here can go on without it.
    if (length === 0) process.exit(0);
    this.#syncDecoder.push(this.#syncChunk.subarray(0, length), (frame) => {
      this.#answer = frame;
    });
  }

  /** The descriptor does not block, being shared with a process that must not be blocked. */
  #retry(attempt: () => number, deadline: number, late: () => Error): number {
    let [pause] = SYNC_POLL;
    for (;;) {
      try {
        return attempt();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
      if (performance.now() > deadline) throw late();
      Atomics.wait(this.#pause, 0, 0, pause);
      pause = Math.min(pause * 2, SYNC_POLL[1]);
    }
  }
}
