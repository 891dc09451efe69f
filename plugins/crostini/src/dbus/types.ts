// How methods and messages belong together.

import type { CallContext } from '@runtime/sdk/dbus';
import type { Message, MessageInit } from '@runtime/sdk/protobuf';
import type { conciergeTable } from '../wire/concierge.ts';
import type { METHODS, MessageName, MethodName } from './methods.ts';
import type { UnsupportedName } from './unsupported.ts';

type Table = typeof conciergeTable;
export type Full<N extends MessageName> = `vm_tools.concierge.${N}`;
export type Request<N extends MessageName> = Message<Table, Full<N>>;
export type Response<N extends MessageName> = MessageInit<Table, Full<N>>;

type RequestOf<M extends MethodName> = (typeof METHODS)[M] extends { readonly request: infer N extends MessageName }
  ? Request<N>
  : undefined;
type ResponseOf<M extends MethodName> = (typeof METHODS)[M] extends { readonly response: infer N extends MessageName }
  ? Response<N>
  : void;

/** Descriptors that came along are closed when the answer is there, unless they are taken from the call. */
export type Handler<M extends MethodName> = (
  request: RequestOf<M>,
  fds: readonly number[],
  call: CallContext,
) => Promise<ResponseOf<M>>;

/** All that works. */
export type Handlers = { readonly [M in Exclude<MethodName, UnsupportedName>]: Handler<M> };
