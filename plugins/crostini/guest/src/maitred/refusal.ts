// What maitred answers to a request that it does not follow. Callers see its gRPC status and the words.

import { GrpcStatus } from '@runtime/sdk/errors';
import { RpcError } from '../../../src/rpc/frame.ts';

/** The request cannot be meant so. */
export function invalid(why: string): RpcError {
  return new RpcError(GrpcStatus.invalidArgument, why);
}

/** Not now. */
export function unready(why: string): RpcError {
  return new RpcError(GrpcStatus.failedPrecondition, why);
}

/** It was tried, and did not work. */
export function failed(what: string, cause: unknown): RpcError {
  return new RpcError(GrpcStatus.internal, `${what}: ${cause instanceof Error ? cause.message : String(cause)}`);
}
