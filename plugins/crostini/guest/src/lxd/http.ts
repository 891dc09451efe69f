// HTTP to LXD's Unix socket: https://documentation.ubuntu.com/lxd/en/latest/rest-api/. LXD is trusted with its own containers,
// but what it hands on of them is theirs: answers are bounded, and JSON is looked at before it is believed.

import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Of an answer that is read whole. A thousand instances with all that they have are below it. */
const ANSWER_MAX = 16 * 2 ** 20;
const TIMEOUT_MS = 60_000;

export interface LxdHttpRequest {
  readonly method: 'GET' | 'PUT' | 'PATCH' | 'POST' | 'DELETE';
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  /** In the place of `body`. */
  readonly upload?: LxdUpload;
  readonly headers?: Readonly<Record<string, string>>;
  /** Without a byte; 0 for ever. Default 60 s. */
  readonly idleMs?: number;
  readonly signal?: AbortSignal;
}

export interface LxdUpload {
  readonly content: Readable;
  readonly bytes?: number;
  readonly type: string;
}

/** What LXD says of a request that it does not follow. */
export class LxdError extends Error {
  override readonly name: string = 'LxdError';
  /** As of HTTP. */
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export function isLxdError(e: unknown, code: number): e is LxdError {
  return e instanceof LxdError && e.code === code;
}

/** @throws Error when nobody answers; the reason of the signal */
export async function openLxd(socketPath: string, options: LxdHttpRequest): Promise<IncomingMessage> {
  const { method, path, upload, signal } = options;
  const body = options.body === undefined ? undefined : Buffer.from(JSON.stringify(options.body));
  const length = upload === undefined ? body?.length : upload.bytes;
  const call = request({
    ...{ socketPath, method, path, agent: false },
    ...(signal === undefined ? {} : { signal }),
    headers: {
      ...{ host: 'lxd', ...options.headers },
      ...(length === undefined ? {} : { 'content-length': length }),
      ...(body === undefined && upload === undefined ? {} : { 'content-type': upload?.type ?? 'application/json' }),
    },
  });
  const { idleMs = TIMEOUT_MS } = options;
  if (idleMs > 0) call.setTimeout(idleMs, () => call.destroy(new Error(`LXD is silent for ${idleMs / 1000} s`)));
  const answer = whenAnswered(call);
  if (upload === undefined) call.end(body);
  // An answer may come before all has been sent, when LXD refuses it.
  else pipeline(upload.content, call).catch((e: unknown) => call.destroy(e as Error));
  return answer;
}

function whenAnswered(call: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    call.once('response', resolve);
    call.on('error', reject);
  });
}

/** @throws Error when it is longer than ANSWER_MAX */
export async function readWhole(answer: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_MAX) throw new Error(`LXD answers more than ${ANSWER_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}
