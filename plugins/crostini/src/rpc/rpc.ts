// gRPC calls by the tables of messages: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. Both sides of
// the wall use it: the host's listeners and maitred serve, each calls the other.

import {
  type CallOptions,
  Client,
  type ClientOptions,
  credentials,
  Metadata,
  type MethodDefinition,
  type Server,
  type ServerUnaryCall,
  type ServiceError,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { isRuntimeError } from '@runtime/sdk/errors';
import type { Message, MessageInit, Protobuf, ProtoTable } from '@runtime/sdk/protobuf';

type NameOf<T> = keyof T & string;
type Methods<T extends ProtoTable, S extends NameOf<T['services']>> = T['services'][S];
type Request<T extends ProtoTable, M> = M extends readonly [infer N extends NameOf<T['messages']>, ...unknown[]]
  ? N
  : never;
type Response<T extends ProtoTable, M> = M extends readonly [unknown, infer N extends NameOf<T['messages']>]
  ? N
  : never;

export interface RpcCall {
  /** Ends when the caller has gone or its deadline has passed. */
  readonly signal: AbortSignal;
}

/** What answers the calls of a service. An error of the runtime keeps its gRPC status and its message. */
export type RpcHandlers<T extends ProtoTable, S extends NameOf<T['services']>> = {
  readonly [M in keyof Methods<T, S>]: (
    request: Message<T, Request<T, Methods<T, S>[M]>>,
    call: RpcCall,
  ) => Promise<MessageInit<T, Response<T, Methods<T, S>[M]>>>;
};

export interface RpcOptions {
  /** Default: it may take for ever. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export type RpcMethods<T extends ProtoTable, S extends NameOf<T['services']>> = {
  readonly [M in keyof Methods<T, S>]: (
    request: MessageInit<T, Request<T, Methods<T, S>[M]>>,
    options?: RpcOptions,
  ) => Promise<Message<T, Response<T, Methods<T, S>[M]>>>;
};

function methodsOf<T extends ProtoTable>(
  wire: Protobuf<T>,
  service: string,
): readonly (readonly [name: string, definition: MethodDefinition<object, object>])[] {
  const coder = (message: string) => ({
    encode: (value: object) => Buffer.from(wire.encode(message, value as never)),
    decode: (bytes: Buffer) => wire.decode(message, bytes) as object,
  });
  return Object.entries(wire.table.services[service] ?? {}).map(([name, [request, response]]) => {
    const [ask, answer] = [coder(request), coder(response)];
    return [
      name,
      {
        path: `/${service}/${name}`,
        ...{ requestStream: false, responseStream: false },
        ...{ requestSerialize: ask.encode, requestDeserialize: ask.decode },
        ...{ responseSerialize: answer.encode, responseDeserialize: answer.decode },
      },
    ];
  });
}

export function addRpcService<T extends ProtoTable, S extends NameOf<T['services']>>(
  server: Server,
  wire: Protobuf<T>,
  service: S,
  handlers: RpcHandlers<T, S>,
): void {
  const implementation: UntypedServiceImplementation = {};
  const methods = methodsOf(wire, service);
  for (const [name] of methods) {
    const handle = handlers[name as keyof typeof handlers] as (request: object, call: RpcCall) => Promise<object>;
    implementation[name] = (call: ServerUnaryCall<object, object>, done: Done) => {
      const controller = new AbortController();
      call.on('cancelled', () => controller.abort());
      // What a handler throws at once is told like what it throws later.
      Promise.try(handle, call.request, { signal: controller.signal }).then(
        (answer) => done(null, answer),
        (e: unknown) => done(toStatus(e)),
      );
    };
  }
  server.addService(Object.fromEntries(methods), implementation);
}

const NO_METADATA = new Metadata();

type Done = (error: Partial<ServiceError> | null, answer?: object) => void;

function toStatus(e: unknown): Partial<ServiceError> {
  const message = e instanceof Error ? e.message : String(e);
  return { code: isRuntimeError(e) ? e.grpc : status.UNKNOWN, details: message };
}

/** Calls to a service of another process; `close()` it. A failed call rejects with grpc-js' ServiceError. */
export class RpcClient<T extends ProtoTable, S extends NameOf<T['services']>> implements Disposable {
  readonly call: RpcMethods<T, S>;
  readonly #client: Client;

  /** @param address of grpc-js, such as `unix:/path` */
  constructor(wire: Protobuf<T>, service: S, address: string, options: ClientOptions = {}) {
    this.#client = new Client(address, credentials.createInsecure(), options);
    this.call = Object.fromEntries(
      methodsOf(wire, service).map(([name, definition]) => [
        name,
        (request: object, options: RpcOptions = {}) => this.#unary(definition, request, options),
      ]),
    ) as unknown as RpcMethods<T, S>;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #unary(
    { path, requestSerialize, responseDeserialize }: MethodDefinition<object, object>,
    request: object,
    { deadlineMs, signal }: RpcOptions,
  ): Promise<object> {
    const options: CallOptions = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const call = this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        NO_METADATA,
        options,
        (e, answer) => {
          signal?.removeEventListener('abort', cancel);
          if (e !== null) reject(e);
          else resolve(answer as object);
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }
}
