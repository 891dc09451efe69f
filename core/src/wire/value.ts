// Plain values as JSON and back. What JSON lacks travels as `{ "$t": <tag>, "v": … }`; an object of the caller's that has
// a key `$t` itself travels inside the tag `object`, so that no value can pose as another.

import { errors } from '../core-errors.ts';
import { isRuntimeError, toErrorRecord } from '../errors.ts';
import { decodeErrorRecord } from './error-record.ts';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

export interface WireLimits {
  /** Containers inside each other. */
  readonly depth: number;
  /** Values in all, containers included. */
  readonly nodes: number;
  /** Characters of strings and keys plus bytes of byte arrays. */
  readonly size: number;
}
export const WIRE_LIMITS: WireLimits = { depth: 64, nodes: 500_000, size: 16 * 1024 * 1024 };

const TAG = '$t';
const BODY = 'v';

/** Reading a decimal number takes more than linear time, so its length is bounded. */
const MAX_DIGITS = 4096;
const MAX_BIGINT = 10n ** BigInt(MAX_DIGITS);

/** Numbers that JSON cannot say. */
const SPECIAL_NUMBERS: ReadonlyMap<string, number> = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
  ['-0', -0],
]);

type Key = string | number;

/** Where in a value the walk stands, and what it may still spend. One per walk. */
class Walk {
  readonly #limits: WireLimits;
  #nodes = 0;
  #size = 0;
  readonly #keys: Key[] = [];
  readonly #containers: object[] = [];

  constructor(limits: WireLimits) {
    this.#limits = limits;
  }

  node(size: number): void {
    this.#nodes += 1;
    this.#size += size;
    if (this.#nodes > this.#limits.nodes) this.refuse(`is too large: more than ${this.#limits.nodes} values`);
    if (this.#size > this.#limits.size) this.refuse(`is too large: more than ${this.#limits.size} bytes`);
  }

  enter(container: object): void {
    if (this.#containers.length >= this.#limits.depth) {
      // Looked for only here, since a value that contains itself always ends up here.
      if (this.#containers.includes(container)) this.refuse('contains itself');
      this.refuse(`is nested more than ${this.#limits.depth} deep`);
    }
    this.#containers.push(container);
    this.#keys.push('');
  }

  at(key: Key): void {
    this.#keys[this.#keys.length - 1] = key;
  }

  leave(): void {
    this.#containers.pop();
    this.#keys.pop();
  }

  refuse(why: string, cause?: unknown): never {
    throw errors.CORE_ERR_WIRE_VALUE({ details: { why: `${this.#path()} ${why}` }, cause });
  }

  #path(): string {
    const shown = this.#keys.length <= 16 ? this.#keys : [...this.#keys.slice(0, 16), '…'];
    return shown.reduce<string>((path, key) => {
      if (typeof key === 'number') return `${path}[${key}]`;
      return /^[A-Za-z_$…][\w$]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key.slice(0, 64))}]`;
    }, 'value');
  }
}

function tagged(tag: string, body?: JsonValue): JsonObject {
  return body === undefined ? { [TAG]: tag } : { [TAG]: tag, [BODY]: body };
}

/** A value that is plain JSON already comes back as it is, without a copy. @throws CORE_ERR_WIRE_VALUE */
export function encodeValue(value: unknown, limits: WireLimits = WIRE_LIMITS): JsonValue {
  const walk = new Walk(limits);
  try {
    return encode(value, walk);
  } catch (cause) {
    if (isRuntimeError(cause, 'CORE_ERR_WIRE_VALUE')) throw cause;
    // A getter or a proxy of the caller's threw.
    return walk.refuse('could not be read', cause);
  }
}

function encode(value: unknown, walk: Walk): JsonValue {
  switch (typeof value) {
    case 'string':
      walk.node(value.length);
      return value;
    case 'boolean':
      walk.node(0);
      return value;
    case 'number':
      walk.node(0);
      if (Number.isFinite(value) && !Object.is(value, -0)) return value;
      return tagged('number', Object.is(value, -0) ? '-0' : String(value));
    case 'undefined':
      walk.node(0);
      return tagged('undefined');
    case 'bigint': {
      if (value >= MAX_BIGINT || value <= -MAX_BIGINT) walk.refuse(`is a bigint of more than ${MAX_DIGITS} digits`);
      const digits = value.toString();
      walk.node(digits.length);
      return tagged('bigint', digits);
    }
    case 'object':
      if (value !== null) return encodeObject(value, walk);
      walk.node(0);
      return null;
    default:
      return walk.refuse(`is a ${typeof value}`);
  }
}

function encodeObject(value: object, walk: Walk): JsonValue {
  if (Array.isArray(value)) return encodeArray(value, walk);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return encodeRecord(value, walk);
  if (value instanceof Uint8Array) {
    walk.node(value.byteLength);
    return tagged('bytes', Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64'));
  }
  if (value instanceof Error) {
    const record = toErrorRecord(value);
    const json = encodeRecord(record, walk);
    return tagged('error', json);
  }
  if (prototype === Date.prototype) {
    walk.node(0);
    const time = (value as Date).getTime();
    return tagged('date', Number.isNaN(time) ? null : time);
  }
  if (prototype === Map.prototype) {
    const entries = [...(value as Map<unknown, unknown>)];
    return tagged('map', encodeEntries(value, entries, walk));
  }
  if (prototype === Set.prototype) {
    walk.node(0);
    walk.enter(value);
    const items = [...(value as Set<unknown>)].map((item, i) => {
      walk.at(i);
      return encode(item, walk);
    });
    walk.leave();
    return tagged('set', items);
  }
  return walk.refuse(`is an instance of ${className(value)}`);
}

function className(value: object): string {
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== '' ? name : 'a class';
}

function encodeEntries(map: object, entries: readonly (readonly [unknown, unknown])[], walk: Walk): JsonValue {
  walk.node(0);
  walk.enter(map);
  const out = entries.map(([key, item], i): JsonValue => {
    walk.at(i);
    return [encode(key, walk), encode(item, walk)];
  });
  walk.leave();
  return out;
}

function encodeArray(value: readonly unknown[], walk: Walk): JsonValue {
  walk.node(0);
  walk.enter(value);
  // Made at the first element that changes.
  let copy: JsonValue[] | undefined;
  for (let i = 0; i < value.length; i++) {
    walk.at(i);
    const item = value[i];
    const encoded = encode(item, walk);
    if (copy === undefined && encoded !== item) copy = value.slice(0, i) as JsonValue[];
    copy?.push(encoded);
  }
  walk.leave();
  return copy ?? (value as JsonValue[]);
}

function encodeRecord(value: object, walk: Walk): JsonValue {
  walk.node(0);
  if (Object.getOwnPropertySymbols(value).length > 0) walk.refuse('has a symbol as key');
  walk.enter(value);
  const source = value as Readonly<Record<string, unknown>>;
  const keys = Object.keys(source);
  let copy: Record<string, JsonValue> | undefined;
  let collides = false;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string;
    walk.at(key);
    walk.node(key.length);
    if (key === TAG) collides = true;
    const item = source[key];
    const encoded = encode(item, walk);
    if (copy === undefined && encoded !== item) {
      copy = {};
      for (const earlier of keys.slice(0, i)) put(copy, earlier, source[earlier] as JsonValue);
    }
    if (copy !== undefined) put(copy, key, encoded);
  }
  walk.leave();
  const json = copy ?? (source as JsonObject);
  return collides ? tagged('object', json) : json;
}

/** Assignment to `__proto__` would change the prototype instead of making a property. */
function put(target: object, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    (target as Record<string, unknown>)[key] = value;
  }
}

/**
 * The value that {@link encodeValue} made `json` from. Takes what JSON.parse returned; parts without a tag are used as
 * they are.
 * @throws CORE_ERR_WIRE_VALUE
 */
export function decodeValue(json: unknown, limits: WireLimits = WIRE_LIMITS): unknown {
  return decode(json, new Walk(limits));
}

function decode(json: unknown, walk: Walk): unknown {
  if (typeof json === 'string') {
    walk.node(json.length);
    return json;
  }
  if (json === null || typeof json === 'number' || typeof json === 'boolean') {
    walk.node(0);
    return json;
  }
  if (Array.isArray(json)) return decodeArray(json, walk);
  if (typeof json !== 'object') return walk.refuse(`is a ${typeof json}`);
  if (!Object.hasOwn(json, TAG)) return decodeRecord(json, walk);
  return decodeTagged(json as JsonObject, walk);
}

function decodeArray(json: readonly unknown[], walk: Walk): unknown[] {
  walk.node(0);
  walk.enter(json);
  let copy: unknown[] | undefined;
  for (let i = 0; i < json.length; i++) {
    walk.at(i);
    const item = json[i];
    const decoded = decode(item, walk);
    if (copy === undefined && decoded !== item) copy = json.slice(0, i);
    copy?.push(decoded);
  }
  walk.leave();
  return copy ?? (json as unknown[]);
}

function decodeRecord(json: object, walk: Walk): object {
  walk.node(0);
  walk.enter(json);
  const source = json as Readonly<Record<string, unknown>>;
  const keys = Object.keys(source);
  let copy: object | undefined;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string;
    walk.at(key);
    walk.node(key.length);
    const item = source[key];
    const decoded = decode(item, walk);
    if (copy === undefined && decoded !== item) {
      copy = {};
      for (const earlier of keys.slice(0, i)) put(copy, earlier, source[earlier]);
    }
    if (copy !== undefined) put(copy, key, decoded);
  }
  walk.leave();
  return copy ?? json;
}

type TagDecoder = (body: JsonValue | undefined, walk: Walk) => unknown;

const TAGS: Readonly<Record<string, TagDecoder>> = {
  undefined(body, walk) {
    walk.node(0);
    return body === undefined ? undefined : walk.refuse('has a malformed "undefined"');
  },
  number(body, walk) {
    walk.node(0);
    const special = typeof body === 'string' ? SPECIAL_NUMBERS.get(body) : undefined;
    return special ?? walk.refuse('has a malformed "number"');
  },
  bigint(body, walk) {
    if (typeof body !== 'string' || body.length > MAX_DIGITS + 1 || !/^-?\d+$/.test(body)) {
      return walk.refuse('has a malformed "bigint"');
    }
    walk.node(body.length);
    return BigInt(body);
  },
  bytes(body, walk) {
    if (typeof body !== 'string' || body.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(body)) {
      return walk.refuse('has malformed "bytes"');
    }
    const bytes = new Uint8Array(Buffer.byteLength(body, 'base64'));
    walk.node(bytes.length);
    Buffer.from(bytes.buffer).write(body, 'base64');
    return bytes;
  },
  date(body, walk) {
    walk.node(0);
    if (body === null) return new Date(Number.NaN);
    return typeof body === 'number' ? new Date(body) : walk.refuse('has a malformed "date"');
  },
  map(body, walk) {
    if (!Array.isArray(body)) return walk.refuse('has a malformed "map"');
    walk.node(0);
    walk.enter(body);
    const map = new Map<unknown, unknown>();
    body.forEach((entry: unknown, i) => {
      walk.at(i);
      const [key, item] = isPair(entry) ? entry : walk.refuse('is not a key and a value');
      map.set(decode(key, walk), decode(item, walk));
    });
    walk.leave();
    return map;
  },
  set(body, walk) {
    return Array.isArray(body) ? new Set(decodeArray(body, walk)) : walk.refuse('has a malformed "set"');
  },
  error(body, walk) {
    // Counted like any other object: its limits hold as well.
    const record = decodeErrorRecord(decodeRecord(asRecord(body, 'error', walk), walk));
    return record ?? walk.refuse('has a malformed "error"');
  },
  object(body, walk) {
    return decodeRecord(asRecord(body, 'object', walk), walk);
  },
};

function isPair(entry: unknown): entry is readonly [unknown, unknown] {
  return Array.isArray(entry) && entry.length === 2;
}

function asRecord(body: JsonValue | undefined, tag: string, walk: Walk): object {
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body;
  return walk.refuse(`has a malformed "${tag}"`);
}

function decodeTagged(json: JsonObject, walk: Walk): unknown {
  const tag = json[TAG];
  const keys = Object.keys(json).length;
  const body = Object.hasOwn(json, BODY) ? json[BODY] : undefined;
  const decoder = typeof tag === 'string' && Object.hasOwn(TAGS, tag) ? TAGS[tag] : undefined;
  if (decoder === undefined || keys !== (body === undefined ? 1 : 2)) return walk.refuse('has an unknown tag');
  return decoder(body, walk);
}
