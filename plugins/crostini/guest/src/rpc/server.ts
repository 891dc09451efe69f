// Answers calls of one message each way, on connections that others accept.

import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { GrpcStatus, isRuntimeError } from '@runtime/sdk/errors';
import type { Protobuf, ProtoTable } from '@runtime/sdk/protobuf';
import { encodeStatusMessage, frameOf, RpcError, readMessage } from '../../../src/rpc/frame.ts';
import type { RpcHandlers } from '../../../src/rpc/rpc.ts';

/** Of one connection, at once. */
const MAX_CALLS = 100;
/** Within which a request has come whole. */
const REQUEST_TIMEOUT_MS = 30_000;
/** setTimeout takes no more than 2^31 − 1 ms; whoever waits for weeks may wait without an end. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
/** Units of grpc-timeout in milliseconds. */
const TIMEOUT_UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

type Answer = (request: Buffer, signal: AbortSignal) => Promise<Uint8Array>;

export class RpcServer implements Disposable {
  readonly #answers = new Map<string, Answer>();
  readonly #http: Http2Server;

  /** @param onError is told what went wrong in handlers without being an answer of theirs */
  constructor(onError: (e: unknown) => void) {
    this.#http = createServer({
      settings: { maxConcurrentStreams: MAX_CALLS, enablePush: false },
      // Two MiB of one connection, apart from messages themselves.
      maxSessionMemory: 2,
    });
    this.#http.on('stream', (stream, headers) => {
      stream.on('error', () => {});
      this.#serve(stream, headers).catch(onError);
    });
    this.#http.on('sessionError', () => {});
  }

  add<T extends ProtoTable, S extends keyof T['services'] & string>(
    wire: Protobuf<T>,
    service: S,
    handlers: RpcHandlers<T, S>,
  ): void {
    for (const [name, [request, response]] of Object.entries(wire.table.services[service] ?? {})) {
      const handle = handlers[name as keyof typeof handlers] as (
        request: object,
        call: { signal: AbortSignal },
      ) => Promise<object>;
      this.#answers.set(`/${service}/${name}`, async (bytes, signal) =>
        wire.encode(response, (await handle(wire.decode(request, bytes) as object, { signal })) as never),
      );
    }
  }

  /** Serves a connection until it ends. */
  accept(connection: Duplex): void {
    connection.on('error', () => {});
    this.#http.emit('connection', connection);
  }

  [Symbol.dispose](): void {
    this.#http.close();
  }

  async #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    const { ':method': method, ':path': path = '', 'content-type': type = '' } = headers;
    if (method !== 'POST' || !type.startsWith('application/grpc')) {
      stream.respond({ ':status': method === 'POST' ? 415 : 405 }, { endStream: true });
      return;
    }
    const controller = new AbortController();
    stream.on('close', () => controller.abort());
    const timeout = parseTimeout(headers['grpc-timeout']);
    const timer = timeout === undefined ? undefined : setTimeout(() => controller.abort(), timeout);
    try {
      const answer = this.#answers.get(path);
      if (answer === undefined) throw new RpcError(GrpcStatus.unimplemented, `there is no ${path.slice(0, 100)}`);
      stream.setTimeout(REQUEST_TIMEOUT_MS, () => stream.close());
      const request = await readMessage(stream);
      stream.setTimeout(0);
      succeed(stream, await answer(request, controller.signal));
    } catch (e) {
      fail(stream, e);
      if (!(e instanceof RpcError) && !isRuntimeError(e)) throw e;
    } finally {
      clearTimeout(timer);
    }
  }
}

function parseTimeout(text: string | string[] | undefined): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(String(text)) ?? [];
  const ms = Number(digits) * (TIMEOUT_UNITS[unit] ?? Number.NaN);
  return ms <= MAX_TIMEOUT_MS ? ms : undefined;
}

const HEADERS = { ':status': 200, 'content-type': 'application/grpc+proto' };

function succeed(stream: ServerHttp2Stream, message: Uint8Array): void {
  if (stream.destroyed || stream.closed) return;
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.end(frameOf(message));
}

/** Without a message all goes in one frame of headers. */
function fail(stream: ServerHttp2Stream, e: unknown): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return;
  const status = e instanceof RpcError ? e.status : isRuntimeError(e) ? e.grpc : GrpcStatus.unknown;
  const message = encodeStatusMessage(e instanceof Error ? e.message : String(e));
  stream.respond({ ...HEADERS, 'grpc-status': String(status), 'grpc-message': message }, { endStream: true });
  // The rest of the request is not wanted.
  stream.close();
}
