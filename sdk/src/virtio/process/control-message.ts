// Messages of the control channel between the runtime and a device process: one JSON text per packet of a SOCK_SEQPACKET
// socket, descriptors beside it. Both ends check what they get.

import { parseErrorRecord } from '@runtime/core/error-record';
import type { ErrorRecord } from '@runtime/core/errors';

/** Bytes of one packet; the kernel's default send buffer takes it whole. */
export const MAX_PACKET: number = 128 * 1024;
/** Descriptors of one packet; SCM_MAX_FD is 253. */
export const MAX_FDS = 64;
const MAX_METHOD = 64;

export type Message =
  | { readonly kind: 'request'; readonly id: number; readonly method: string; readonly params: unknown }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: ErrorRecord };

/** `undefined` when it is longer than a packet may be. */
export function encodeMessage(message: Message): Uint8Array | undefined {
  const bytes = Buffer.from(JSON.stringify(message));
  return bytes.length > MAX_PACKET ? undefined : bytes;
}

/** `undefined` when it is none. */
export function parseMessage(bytes: Uint8Array): Message | undefined {
  let message: unknown;
  try {
    message = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof message !== 'object' || message === null) return undefined;
  const { kind, id, method, params, value, error } = message as Readonly<Record<string, unknown>>;
  if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0) return undefined;
  if (kind === 'request') {
    return typeof method === 'string' && method.length <= MAX_METHOD ? { kind, id, method, params } : undefined;
  }
  if (kind === 'answer') return { kind, id, value };
  const record = kind === 'refusal' ? parseErrorRecord(error) : undefined;
  return record === undefined ? undefined : { kind: 'refusal', id, error: record };
}
