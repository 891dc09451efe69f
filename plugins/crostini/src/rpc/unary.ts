// Calls of one message each way to a service at the end of a connection that somebody else makes.

import { once } from 'node:events';
import { connect, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from 'node:http2';
import type { Duplex } from 'node:stream';
import { GrpcStatus } from '@runtime/sdk/errors';
import type { Message, MessageInit, Protobuf, ProtoTable } from '@runtime/sdk/protobuf';
import { decodeStatusMessage, frameOf, RpcError, readMessage } from './frame.ts';

type NameOf<T> = keyof T & string;
type Methods<T extends ProtoTable, S extends NameOf<T['services']>> = T['services'][S];
type RequestOf<T extends ProtoTable, M> = M extends readonly [infer N extends NameOf<T['messages']>, ...unknown[]]
  ? N
  : never;
type ResponseOf<T extends ProtoTable, M> = M extends readonly [unknown, infer N extends NameOf<T['messages']>]
  ? N
  : never;

export interface UnaryCall<T extends ProtoTable, S extends NameOf<T['services']>, M extends NameOf<Methods<T, S>>> {
  readonly wire: Protobuf<T>;
  readonly service: S;
  readonly method: M;
  readonly request: MessageInit<T, RequestOf<T, Methods<T, S>[M]>>;
  /** Makes the connection, which is for this call alone. */
  readonly dial: (signal: AbortSignal) => Promise<Duplex>;
  /** Of all of it, the connection included. */
  readonly deadlineMs: number;
}

/** @throws RpcError when the other side refused or garbled it; what `dial` threw; AbortError after the deadline */
export async function callUnary<T extends ProtoTable, S extends NameOf<T['services']>, M extends NameOf<Methods<T, S>>>(
  call: UnaryCall<T, S, M>,
): Promise<Message<T, ResponseOf<T, Methods<T, S>[M]>>> {
  const { wire, service, method, dial, deadlineMs } = call;
  const names = wire.table.services[service]?.[method];
  if (names === undefined) throw new RpcError(GrpcStatus.unimplemented, `no table has ${service}/${method}`);
  const [request, response] = names;
  const signal = AbortSignal.timeout(deadlineMs);
  const connection = await dial(signal);
  const session = connect('http://localhost', { createConnection: () => connection, maxSessionMemory: 2 });
  const failed = Promise.withResolvers<never>();
  // Of the request that fails with it, too; here for the case that none has begun.
  session.on('error', failed.reject);
  session.on('close', () => failed.reject(new RpcError(GrpcStatus.unavailable, 'the connection ended')));
  try {
    const stream = session.request(
      {
        ...{ ':method': 'POST', ':path': `/${service}/${method}`, te: 'trailers' },
        ...{ 'content-type': 'application/grpc+proto', 'grpc-timeout': `${Math.min(deadlineMs, 99_999_999)}m` },
      },
      { signal },
    );
    stream.on('error', failed.reject);
    stream.end(frameOf(wire.encode(request, call.request as never)));
    const answer = exchange(stream).then((bytes) => wire.decode(response, bytes));
    return (await Promise.race([answer, failed.promise])) as Message<T, ResponseOf<T, Methods<T, S>[M]>>;
  } finally {
    failed.promise.catch(() => {});
    session.destroy();
    connection.destroy();
  }
}

async function exchange(stream: ReturnType<ReturnType<typeof connect>['request']>): Promise<Buffer> {
  let trailers: IncomingHttpHeaders = {};
  stream.on('trailers', (got: IncomingHttpHeaders) => {
    trailers = got;
  });
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders & IncomingHttpStatusHeader];
  if (headers[':status'] !== 200) throw new RpcError(GrpcStatus.unavailable, `it answered HTTP ${headers[':status']}`);
  checkStatus(headers['grpc-status'], headers['grpc-message']);
  const message = await readMessage(stream).catch((e: unknown) => {
    // Why there is none is in the trailers.
    checkStatus(trailers['grpc-status'], trailers['grpc-message']);
    throw e;
  });
  if (trailers['grpc-status'] === undefined) throw new RpcError(GrpcStatus.unknown, 'the answer has no status');
  checkStatus(trailers['grpc-status'], trailers['grpc-message']);
  return message;
}

function checkStatus(status: string | string[] | undefined, message: string | string[] | undefined): void {
  if (status === undefined || status === '0') return;
  const code = Number(status);
  throw new RpcError(Number.isInteger(code) ? code : GrpcStatus.unknown, decodeStatusMessage(String(message ?? '')));
}
