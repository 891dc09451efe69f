// The frames of gRPC: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. grpc-js would take a third of a second
// of each start under an emulated CPU; calls with one message each way need little of it.

import type { Readable } from 'node:stream';
import { GrpcStatus } from '@runtime/sdk/errors';

/** As of grpc-js. */
export const MAX_MESSAGE_BYTES: number = 4 * 2 ** 20;
/** Flag of compression u8@0, length u32@1 in network order. */
const HEADER_BYTES = 5;

export class RpcError extends Error {
  override readonly name: string = 'RpcError';
  /** Of gRPC. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, HEADER_BYTES);
  return frame;
}

/** The one message of a stream that is read to its end. @throws RpcError; what ended the stream early */
export async function readMessage(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // A stream that is destroyed could not be answered any more.
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > HEADER_BYTES + MAX_MESSAGE_BYTES)
      throw new RpcError(GrpcStatus.resourceExhausted, `a message has more than ${MAX_MESSAGE_BYTES} bytes`);
    chunks.push(chunk);
  }
  const whole = Buffer.concat(chunks, bytes);
  if (whole.length < HEADER_BYTES) throw new RpcError(GrpcStatus.internal, 'there is no message');
  if (whole[0] !== 0) throw new RpcError(GrpcStatus.unimplemented, 'compressed messages are not understood');
  if (whole.readUInt32BE(1) !== whole.length - HEADER_BYTES)
    throw new RpcError(GrpcStatus.internal, 'it is not one message of the length that it says');
  return whole.subarray(HEADER_BYTES);
}

/** "%" and what is not printable ASCII go as bytes in hexadecimal. */
export function encodeStatusMessage(text: string): string {
  const bytes = Buffer.from(text).subarray(0, MAX_STATUS_MESSAGE);
  return Array.from(bytes, (byte) =>
    byte >= 0x20 && byte <= 0x7e && byte !== 0x25
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`,
  ).join('');
}

/** Headers are small, as the other side may only take 8 KiB of them. */
const MAX_STATUS_MESSAGE = 1024;

export function decodeStatusMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
