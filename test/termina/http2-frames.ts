// Frames of HTTP/2 as bytes, for whoever does not keep to the rules: RFC 9113.

export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export const FRAME = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  continuation: 9,
} as const;
export const FLAG = { endStream: 1, endHeaders: 4 } as const;

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const text = (value: string): Buffer => Buffer.concat([Buffer.of(value.length), Buffer.from(value)]);

/** Header fields of a call of gRPC, without Huffman codes: RFC 7541, appendix A has the numbers. */
export function grpcHeaders(path: string): Buffer {
  return Buffer.concat([
    // :method POST, :scheme http
    Buffer.of(0x83, 0x86),
    ...[Buffer.of(0x04), text(path)],
    ...[Buffer.of(0x01), text('host')],
    ...[Buffer.of(0x0f, 0x10), text('application/grpc')],
    ...[Buffer.of(0x00), text('te'), text('trailers')],
  ]);
}

/** A field that nobody knows, of so many bytes. At most 126 of a name and value. */
export const field = (name: string, value: string): Buffer => Buffer.concat([Buffer.of(0x00), text(name), text(value)]);

/** What comes before a message of gRPC. */
export function grpcPrefix(length: number): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(length, 1);
  return prefix;
}
