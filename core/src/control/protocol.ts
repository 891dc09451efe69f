// The messages of the control socket and their limits. docs/reference/protocol.md is for those who write another client.

import { errors } from '../core-errors.ts';
import type { ErrorRecord } from '../errors.ts';
import { parseErrorRecord } from '../wire/error-record.ts';
import { MAX_FRAME } from '../wire/frames.ts';
import type { JsonObject, JsonValue } from '../wire/value.ts';

/** Raised for changes that an older peer would misunderstand. */
export const PROTOCOL_VERSION = 1;

export interface ControlLimits {
  /** Bytes of one frame. */
  readonly frameBytes: number;
  /** Connections at a time. */
  readonly connections: number;
  /** Requests of one connection at a time. */
  readonly requests: number;
  /** Messages a second that a connection may send, averaged; more are read later. */
  readonly messagesPerSecond: number;
  /** Bytes waiting to be read by the peer above which nothing more is read from it and no item is made. */
  readonly bufferedBytes: number;
  /** Milliseconds that a frame may take to arrive. */
  readonly frameMs: number;
  /** Milliseconds that a cancelled or orphaned request may take to end before it is left to itself. */
  readonly cancelMs: number;
}
export const CONTROL_LIMITS: ControlLimits = {
  frameBytes: MAX_FRAME,
  connections: 128,
  requests: 64,
  messagesPerSecond: 20_000,
  bufferedBytes: 1024 * 1024,
  frameMs: 10_000,
  cancelMs: 10_000,
};

/** Bytes of `item` frames of one request that may be on their way before the client has to grant more. */
export const ITEM_WINDOW = 1024 * 1024;
/** The same for `input` frames, granted by the server. */
export const INPUT_WINDOW = 256 * 1024;
/** Raw bytes of one `input` frame that the client of this package sends. */
export const INPUT_CHUNK = 32 * 1024;

export interface HelloMessage {
  readonly type: 'hello';
  readonly v: number;
  /** Of the runtime. */
  readonly version: string;
  /** Changes with every start. */
  readonly instance: string;
  readonly pid: number;
}

export type ClientMessage =
  | { readonly type: 'request'; readonly id: number; readonly method: string; readonly params: JsonValue }
  | { readonly type: 'cancel'; readonly id: number }
  | { readonly type: 'input'; readonly id: number; readonly data: JsonValue }
  | { readonly type: 'input-end'; readonly id: number }
  | { readonly type: 'resize'; readonly id: number; readonly columns: number; readonly rows: number }
  | { readonly type: 'credit'; readonly id: number; readonly bytes: number };

export type ServerMessage =
  | HelloMessage
  | { readonly type: 'item'; readonly id: number; readonly data: JsonValue }
  | { readonly type: 'result'; readonly id: number; readonly data: JsonValue }
  /** Without `id` it concerns the connection, which ends with it. */
  | { readonly type: 'error'; readonly id: number | undefined; readonly error: ErrorRecord }
  | { readonly type: 'credit'; readonly id: number; readonly bytes: number };

const MAX_METHOD = 64;
const MAX_CREDIT = 2 ** 30;
/** What a terminal can be told, struct winsize. */
const MAX_EXTENT = 65_535;

function refuse(why: string): never {
  throw errors.CORE_ERR_WIRE({ details: { why } });
}

function id(frame: JsonObject): number {
  const value = frame.id;
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0
    ? value
    : refuse('"id" is not a positive integer');
}

function credit(frame: JsonObject): number {
  const { bytes } = frame;
  return typeof bytes === 'number' && Number.isInteger(bytes) && bytes > 0 && bytes <= MAX_CREDIT
    ? bytes
    : refuse(`"bytes" is not an integer from 1 to ${MAX_CREDIT}`);
}

function extent(frame: JsonObject, key: 'columns' | 'rows'): number {
  const value = frame[key];
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_EXTENT
    ? value
    : refuse(`"${key}" is not an integer from 0 to ${MAX_EXTENT}`);
}

function required(frame: JsonObject, key: string): JsonValue {
  return Object.hasOwn(frame, key) ? (frame[key] as JsonValue) : refuse(`"${key}" is missing`);
}

function method(frame: JsonObject): string {
  const value = frame.method;
  return typeof value === 'string' && value.length > 0 && value.length <= MAX_METHOD
    ? value
    : refuse(`"method" is not a text of 1 to ${MAX_METHOD} characters`);
}

type Parsers<M> = Readonly<
  Record<string, { readonly keys: readonly string[]; readonly parse: (frame: JsonObject) => M }>
>;

/** `keys`: those a frame may have beside `type` and `v`. */
const CLIENT_PARSERS: Parsers<ClientMessage> = {
  request: {
    keys: ['id', 'method', 'params'],
    parse: (f) => ({ type: 'request', id: id(f), method: method(f), params: f.params ?? {} }),
  },
  cancel: { keys: ['id'], parse: (f) => ({ type: 'cancel', id: id(f) }) },
  input: { keys: ['id', 'data'], parse: (f) => ({ type: 'input', id: id(f), data: required(f, 'data') }) },
  resize: {
    keys: ['id', 'columns', 'rows'],
    parse: (f) => ({ type: 'resize', id: id(f), columns: extent(f, 'columns'), rows: extent(f, 'rows') }),
  },
  'input-end': { keys: ['id'], parse: (f) => ({ type: 'input-end', id: id(f) }) },
  credit: { keys: ['id', 'bytes'], parse: (f) => ({ type: 'credit', id: id(f), bytes: credit(f) }) },
};

/** @throws CORE_ERR_WIRE, CORE_ERR_CONTROL_VERSION */
export function parseClientMessage(frame: JsonObject): ClientMessage {
  checkVersion(frame.v);
  const parser = parserOf(CLIENT_PARSERS, frame);
  const unknown = Object.keys(frame).find((key) => key !== 'type' && key !== 'v' && !parser.keys.includes(key));
  if (unknown !== undefined) refuse(`it has an unknown key ${JSON.stringify(unknown.slice(0, 64))}`);
  return parser.parse(frame);
}

const SERVER_PARSERS: Parsers<ServerMessage> = {
  hello: { keys: [], parse: hello },
  item: { keys: [], parse: (f) => ({ type: 'item', id: id(f), data: required(f, 'data') }) },
  result: { keys: [], parse: (f) => ({ type: 'result', id: id(f), data: required(f, 'data') }) },
  error: {
    keys: [],
    parse: (f) => ({
      type: 'error',
      id: f.id === undefined ? undefined : id(f),
      error: parseErrorRecord(f.error) ?? refuse('"error" is not an error record'),
    }),
  },
  credit: { keys: [], parse: (f) => ({ type: 'credit', id: id(f), bytes: credit(f) }) },
};

/** Takes unknown keys, which a later runtime of the same protocol version may add. @throws CORE_ERR_WIRE */
export function parseServerMessage(frame: JsonObject): ServerMessage {
  return parserOf(SERVER_PARSERS, frame).parse(frame);
}

function parserOf<M>(parsers: Parsers<M>, frame: JsonObject): Parsers<M>[string] {
  const { type } = frame;
  const parser = typeof type === 'string' && Object.hasOwn(parsers, type) ? parsers[type] : undefined;
  return parser ?? refuse(`"type" is not one of ${Object.keys(parsers).join(', ')}`);
}

function hello(frame: JsonObject): HelloMessage {
  const { v, version, instance, pid } = frame;
  if (typeof v !== 'number' || typeof version !== 'string' || typeof instance !== 'string' || typeof pid !== 'number') {
    return refuse('it is not a greeting of a runtime');
  }
  return { type: 'hello', v, version, instance, pid };
}

/** @throws CORE_ERR_CONTROL_VERSION for another version, CORE_ERR_WIRE for none */
function checkVersion(v: JsonValue | undefined): void {
  if (v === PROTOCOL_VERSION) return;
  if (typeof v !== 'number') refuse('"v" is not the version of the protocol');
  throw errors.CORE_ERR_CONTROL_VERSION({ details: { asked: v, spoken: PROTOCOL_VERSION } });
}
