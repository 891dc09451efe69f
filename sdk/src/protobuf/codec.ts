// Messages to bytes and back, by their tables.

import type { Field, Message, MessageInit, ProtoTable, Scalar } from './table.ts';
import { malformed, WIRE, WireReader, type WireType, WireWriter } from './wire-format.ts';

/** Messages within messages; those of ChromeOS have five at most. */
const DEPTH_MAX = 32;

interface ScalarCodec {
  readonly wireType: WireType;
  readonly initial: unknown;
  read(from: WireReader): unknown;
  write(to: WireWriter, value: never): void;
}

const zigzag = (value: number): number => ((value << 1) ^ (value >> 31)) >>> 0;

const SCALARS: Readonly<Record<Scalar, ScalarCodec>> = {
  bool: {
    ...{ wireType: WIRE.varint, initial: false },
    read: (from) => from.varint() !== 0n,
    write: (to, value: boolean) => to.varint32(value ? 1 : 0),
  },
  int32: {
    ...{ wireType: WIRE.varint, initial: 0 },
    read: (from) => from.varint32() | 0,
    write: (to, value: number) => (value < 0 ? to.varint(BigInt(value)) : to.varint32(value)),
  },
  sint32: {
    ...{ wireType: WIRE.varint, initial: 0 },
    read: (from) => {
      const value = from.varint32();
      return (value >>> 1) ^ -(value & 1);
    },
    write: (to, value: number) => to.varint32(zigzag(value)),
  },
  uint32: {
    ...{ wireType: WIRE.varint, initial: 0 },
    read: (from) => from.varint32(),
    write: (to, value: number) => to.varint32(value >>> 0),
  },
  fixed32: {
    ...{ wireType: WIRE.fixed32, initial: 0 },
    read: (from) => from.fixed32(),
    write: (to, value: number) => to.fixed32(value),
  },
  int64: {
    ...{ wireType: WIRE.varint, initial: 0n },
    read: (from) => BigInt.asIntN(64, from.varint()),
    write: (to, value: bigint) => to.varint(value),
  },
  uint64: {
    ...{ wireType: WIRE.varint, initial: 0n },
    read: (from) => from.varint(),
    write: (to, value: bigint) => to.varint(value),
  },
  double: {
    ...{ wireType: WIRE.fixed64, initial: 0 },
    read: (from) => from.double(),
    write: (to, value: number) => to.double(value),
  },
  string: {
    ...{ wireType: WIRE.bytes, initial: '' },
    read: (from) => from.string(),
    write: (to, value: string) => to.string(value),
  },
  bytes: {
    ...{ wireType: WIRE.bytes, initial: new Uint8Array(0) },
    read: (from) => from.bytes(),
    write: (to, value: Uint8Array) => to.bytes(value),
  },
};

interface Plan {
  readonly number: number;
  readonly name: string;
  readonly wireType: WireType;
  /** What it is when it was not sent. */
  readonly initial: unknown;
  /** Its default is not sent. */
  readonly isImplicit: boolean;
  readonly isRepeated: boolean;
  readonly map: { readonly key: Plan; readonly value: Plan } | undefined;
  /** Fields of the same choice, without this one. */
  readonly rivals: readonly string[];
  read(from: WireReader, depth: number): unknown;
  write(to: WireWriter, value: unknown): void;
}

interface MessagePlan {
  readonly fields: readonly Plan[];
  readonly byNumber: ReadonlyMap<number, Plan>;
}

type Values = Record<string, unknown>;
type NameOf<T> = keyof T & string;

/** The messages of one or several tables. */
export class Protobuf<T extends ProtoTable> {
  readonly table: T;
  readonly #plans = new Map<string, MessagePlan>();
  readonly #enumNames = new Map<string, ReadonlyMap<number, string>>();

  constructor(table: T) {
    this.table = table;
  }

  encode<N extends NameOf<T['messages']>>(name: N, message: MessageInit<T, N>): Uint8Array {
    const writer = new WireWriter();
    this.#write(writer, this.#planOf(name), message as Values);
    return writer.finish();
  }

  /**
   * Fields that the table does not know are passed over. Bytes in it are views of those given. Work is bounded by the
   * number of bytes. @throws SDK_ERR_PROTOBUF
   */
  decode<N extends NameOf<T['messages']>>(name: N, bytes: Uint8Array): Message<T, N> {
    return this.#read(new WireReader(bytes), this.#planOf(name), 0) as Message<T, N>;
  }

  #planOf(name: string): MessagePlan {
    let plan = this.#plans.get(name);
    if (plan !== undefined) return plan;
    const fields = this.table.messages[name];
    if (fields === undefined) throw new TypeError(`no table has the message ${name}`);
    const plans = Object.entries(fields).map(([field, spec]) => this.#planField(field, spec, rivalsOf(fields, field)));
    plans.sort((a, b) => a.number - b.number);
    plan = { fields: plans, byNumber: new Map(plans.map((one) => [one.number, one])) };
    this.#plans.set(name, plan);
    return plan;
  }

  #planField(name: string, [number, type, label]: Field, rivals: readonly string[]): Plan {
    const isRepeated = label === 'repeated';
    const base = { number, name, isRepeated, rivals, map: undefined };
    const scalar = SCALARS[type as Scalar];
    if (scalar !== undefined) {
      const { wireType, read, write } = scalar;
      const initial = label === undefined ? scalar.initial : undefined;
      return { ...base, wireType, initial, isImplicit: label === undefined, read, write: write as Plan['write'] };
    }
    const map = /^map<(\w+),([\w.]+)>$/.exec(type);
    if (map !== null) {
      const [, key = '', value = ''] = map;
      const parts = { key: this.#planField('key', [1, key], []), value: this.#planField('value', [2, value], []) };
      return { ...base, wireType: WIRE.bytes, initial: undefined, isImplicit: false, map: parts, ...NEVER_ALONE };
    }
    if (this.table.enums[type] !== undefined) return this.#planEnum(type, base, label === undefined);
    return {
      ...{ ...base, wireType: WIRE.bytes, initial: undefined, isImplicit: false },
      read: (from, depth) => this.#read(new WireReader(from.bytes()), this.#planOf(type), depth + 1),
      write: (to, value) => {
        const inner = new WireWriter();
        this.#write(inner, this.#planOf(type), value as Values);
        to.bytes(inner.finish());
      },
    };
  }

  #planEnum(
    type: string,
    base: Pick<Plan, 'number' | 'name' | 'isRepeated' | 'rivals' | 'map'>,
    isImplicit: boolean,
  ): Plan {
    const numbers = this.table.enums[type] ?? {};
    let names = this.#enumNames.get(type);
    if (names === undefined) {
      names = new Map(Object.entries(numbers).map(([name, number]) => [number, name]));
      this.#enumNames.set(type, names);
    }
    const known = names;
    return {
      ...{ ...base, wireType: WIRE.varint, isImplicit, initial: isImplicit ? (known.get(0) ?? 0) : undefined },
      read: (from) => {
        const value = from.varint32() | 0;
        return known.get(value) ?? value;
      },
      write: (to, value) => {
        const number = typeof value === 'number' ? value : numbers[value as string];
        if (number === undefined) throw new TypeError(`${type} has no value ${String(value)}`);
        if (number < 0) to.varint(BigInt(number));
        else to.varint32(number);
      },
    };
  }

  #read(from: WireReader, plan: MessagePlan, depth: number): Values {
    if (depth > DEPTH_MAX) throw malformed(`messages lie more than ${DEPTH_MAX} deep in each other`);
    const values: Values = {};
    for (const field of plan.fields) {
      values[field.name] = field.isRepeated ? [] : field.map === undefined ? field.initial : new Map();
    }
    while (!from.done) {
      const [number, wireType] = from.tag();
      const field = plan.byNumber.get(number);
      if (field === undefined) from.skip(wireType);
      else if (field.map !== undefined) this.#readEntry(from, wireType, field, values, depth);
      else if (field.isRepeated) readRepeated(from, wireType, field, values[field.name] as unknown[], depth);
      else {
        expectType(field, wireType);
        for (const rival of field.rivals) values[rival] = undefined;
        values[field.name] = field.read(from, depth);
      }
    }
    return values;
  }

  #readEntry(from: WireReader, wireType: number, field: Plan, values: Values, depth: number): void {
    const { key, value } = field.map as NonNullable<Plan['map']>;
    expectType(field, wireType);
    const plan: MessagePlan = {
      fields: [key, value],
      byNumber: new Map([
        [1, key],
        [2, value],
      ]),
    };
    const entry = this.#read(new WireReader(from.bytes()), plan, depth + 1);
    (values[field.name] as Map<unknown, unknown>).set(entry.key, entry.value);
  }

  #write(to: WireWriter, plan: MessagePlan, values: Values): void {
    for (const field of plan.fields) {
      const value = values[field.name];
      if (value === undefined) continue;
      if (field.map !== undefined) writeMap(to, field, value as ReadonlyMap<unknown, unknown>);
      else if (field.isRepeated) writeRepeated(to, field, value as readonly unknown[]);
      else if (!field.isImplicit || !isInitial(field, value)) {
        to.tag(field.number, field.wireType);
        field.write(to, value);
      }
    }
  }
}

const NEVER_ALONE = {
  read: (): never => {
    throw new TypeError('a map is read entry by entry');
  },
  write: (): never => {
    throw new TypeError('a map is written entry by entry');
  },
};

function rivalsOf(fields: Readonly<Record<string, Field>>, name: string): string[] {
  const choice = fields[name]?.[2];
  if (choice === undefined || !choice.startsWith('oneof ')) return [];
  return Object.keys(fields).filter((other) => other !== name && fields[other]?.[2] === choice);
}

function isInitial({ initial }: Plan, value: unknown): boolean {
  // Negative zero is not the default: it would come back as another number.
  return initial instanceof Uint8Array ? (value as Uint8Array).length === 0 : Object.is(value, initial) || value === 0n;
}

function expectType({ name, wireType }: Plan, got: number): void {
  if (got !== wireType) throw malformed(`field "${name}" has wire type ${got} in place of ${wireType}`);
}

function readRepeated(from: WireReader, wireType: number, field: Plan, into: unknown[], depth: number): void {
  if (wireType === field.wireType) return void into.push(field.read(from, depth));
  expectType({ ...field, wireType: WIRE.bytes }, wireType);
  const packed = new WireReader(from.bytes());
  while (!packed.done) into.push(field.read(packed, depth));
}

function writeRepeated(to: WireWriter, field: Plan, values: readonly unknown[]): void {
  if (values.length === 0) return;
  if (field.wireType === WIRE.bytes) {
    for (const value of values) {
      to.tag(field.number, WIRE.bytes);
      field.write(to, value);
    }
    return;
  }
  const packed = new WireWriter();
  for (const value of values) field.write(packed, value);
  to.tag(field.number, WIRE.bytes);
  to.bytes(packed.finish());
}

function writeMap(to: WireWriter, { number, map }: Plan, values: ReadonlyMap<unknown, unknown>): void {
  const { key, value } = map as NonNullable<Plan['map']>;
  for (const [k, v] of values) {
    const entry = new WireWriter();
    entry.tag(1, key.wireType);
    key.write(entry, k);
    entry.tag(2, value.wireType);
    value.write(entry, v);
    to.tag(number, WIRE.bytes);
    to.bytes(entry.finish());
  }
}
