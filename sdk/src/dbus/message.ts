// Messages: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-messages

import { isName, type NameKind } from './names.ts';
import { broken, Reader } from './reader.ts';
import { parseSignature, type Type } from './signature.ts';
import type { Value, Variant } from './value.ts';
import { Writer } from './writer.ts';

/** By the standard, with the header. */
export const MESSAGE_MAX = 2 ** 27;
/** What of each message has to come before its length is known: `yyyyuu`, then the length of the fields. */
export const PREFIX_BYTES = 16;

const TYPES = ['call', 'return', 'error', 'signal'] as const;
/** `unknown`: of a later version of the standard, to be passed over. */
export type MessageType = (typeof TYPES)[number] | 'unknown';

const FLAGS = { noReply: 1, noAutoStart: 2, interactive: 4 } as const;

/** Number, type, and what it has to look like. */
const FIELDS = {
  path: [1, 'o', 'object path'],
  interface: [2, 's', 'interface'],
  member: [3, 's', 'member'],
  errorName: [4, 's', 'error name'],
  replySerial: [5, 'u', undefined],
  destination: [6, 's', 'bus name'],
  sender: [7, 's', 'bus name'],
  signature: [8, 'g', undefined],
  fdCount: [9, 'u', undefined],
} as const satisfies Record<string, readonly [number, string, NameKind | undefined]>;

const REQUIRED: Readonly<Record<MessageType, readonly (keyof typeof FIELDS)[]>> = {
  call: ['path', 'member'],
  return: ['replySerial'],
  error: ['errorName', 'replySerial'],
  signal: ['path', 'interface', 'member'],
  unknown: [],
};

export interface Header {
  readonly type: MessageType;
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  readonly destination?: string;
  readonly sender?: string;
  readonly noReply?: boolean;
  readonly noAutoStart?: boolean;
}

export interface Outgoing extends Header {
  readonly signature?: string;
  readonly values?: readonly Value[];
}

/** A message as it came; its values are read when they are asked for, with the types that were expected. */
export interface Incoming extends Header {
  readonly signature: string;
  readonly fdCount: number;
  readonly little: boolean;
  readonly bytes: Buffer;
  readonly bodyAt: number;
}

/** Bytes, and the descriptors that have to go with them, which stay the caller's. @throws SDK_ERR_DBUS_VALUE */
export function encodeMessage(message: Outgoing): { readonly bytes: Buffer; readonly fds: readonly number[] } {
  const body = new Writer();
  const { signature = '', values = [] } = message;
  body.values(signature, values);
  const fields: (readonly [number, Variant])[] = [];
  const header: Record<string, unknown> = { ...message, signature, fdCount: body.fds.length };
  for (const [name, [code, type]] of Object.entries(FIELDS)) {
    const value = header[name] as string | number | undefined;
    if (value !== undefined && value !== '' && !(name === 'fdCount' && value === 0))
      fields.push([code, { signature: type, value }]);
  }
  const flags = (message.noReply ? FLAGS.noReply : 0) | (message.noAutoStart ? FLAGS.noAutoStart : 0);
  const writer = new Writer();
  writer.bytes(Buffer.from([0x6c, (TYPES as readonly MessageType[]).indexOf(message.type) + 1, flags, 1]));
  writer.values('uua(yv)', [body.length, message.serial, fields]);
  writer.align(8);
  writer.bytes(body.finish());
  return { bytes: writer.finish(), fds: body.fds };
}

export interface Measure {
  /** Of the header, with the padding behind it. */
  readonly headerBytes: number;
  readonly totalBytes: number;
}

/** Of the first {@link PREFIX_BYTES} of a message. @throws SDK_ERR_DBUS_PROTOCOL when no message begins so */
export function measureMessage(prefix: Buffer): Measure {
  const [endian = 0, type = 0, , version = 0] = prefix;
  if (endian !== 0x6c && endian !== 0x42) throw broken(`the byte order of a message is ${endian}`);
  if (version !== 1) throw broken(`a message has version ${version}`);
  if (type === 0) throw broken('a message has no type');
  const little = endian === 0x6c;
  const u32 = (at: number): number => (little ? prefix.readUInt32LE(at) : prefix.readUInt32BE(at));
  const headerBytes = PREFIX_BYTES + Math.ceil(u32(12) / 8) * 8;
  const totalBytes = headerBytes + u32(4);
  if (totalBytes > MESSAGE_MAX) throw broken(`a message takes ${totalBytes} bytes`);
  if (u32(8) === 0) throw broken('a message has serial 0');
  return { headerBytes, totalBytes };
}

const FIELD: Type = parseSignature('(yv)')[0] as Type;

/** Of a whole message, or of its header alone (then it has no values to be read). @throws SDK_ERR_DBUS_PROTOCOL */
export function decodeMessage(bytes: Buffer): Incoming {
  const little = bytes[0] === 0x6c;
  const type = TYPES[(bytes[1] as number) - 1] ?? 'unknown';
  const fieldsEnd = PREFIX_BYTES + (little ? bytes.readUInt32LE(12) : bytes.readUInt32BE(12));
  const reader = new Reader(bytes.subarray(0, fieldsEnd), { little, at: PREFIX_BYTES });
  const header: Record<string, string | number> = {};
  while (reader.at < fieldsEnd) readField(reader, header);
  for (const name of REQUIRED[type]) if (header[name] === undefined) throw broken(`a ${type} has no ${name}`);
  const flags = bytes[2] as number;
  return {
    ...({ signature: '', fdCount: 0, ...header } as { signature: string; fdCount: number } & Partial<Header>),
    type,
    serial: little ? bytes.readUInt32LE(8) : bytes.readUInt32BE(8),
    noReply: (flags & FLAGS.noReply) !== 0,
    noAutoStart: (flags & FLAGS.noAutoStart) !== 0,
    little,
    bytes,
    bodyAt: Math.ceil(fieldsEnd / 8) * 8,
  };
}

const FIELDS_BY_NUMBER = new Map(
  Object.entries(FIELDS).map(([name, [code, type, kind]]) => [code as number, { name, type, kind }]),
);

function readField(reader: Reader, header: Record<string, string | number>): void {
  const [code, { signature, value }] = reader.value(FIELD, 0) as unknown as [number, Variant];
  const field = FIELDS_BY_NUMBER.get(code);
  if (field === undefined) return;
  const { name, type, kind } = field;
  if (signature !== type) throw broken(`field ${name} of a message is a "${signature}"`);
  if (kind !== undefined && !isName(kind, value as string)) throw broken(`the ${kind} of a message is none`);
  header[name] = value as string | number;
}

/**
 * Its values, with descriptors in place of their indices. @throws SDK_ERR_DBUS_PROTOCOL when they have other types than
 * the message says, or are cut off
 */
export function readBody(message: Incoming, fds: readonly number[]): Value[] {
  const { bytes, little, bodyAt, signature } = message;
  return new Reader(bytes, { little, at: bodyAt, fds }).values(signature);
}
