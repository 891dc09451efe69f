// Messages of protocol buffers as tables: https://protobuf.dev/programming-guides/proto3/. The types of messages follow
// from the tables, so that nothing has to be generated, and a guest that starts has nothing to parse.

export interface Scalars {
  readonly bool: boolean;
  readonly int32: number;
  readonly sint32: number;
  readonly uint32: number;
  readonly fixed32: number;
  readonly int64: bigint;
  readonly uint64: bigint;
  readonly double: number;
  readonly string: string;
  readonly bytes: Uint8Array;
}
export type Scalar = keyof Scalars;

/** Nothing: a scalar has its default when it was not sent. `oneof …`: at most one of those that say the same is set. */
export type Label = 'repeated' | 'optional' | `oneof ${string}`;
/** Number, type, label. A type is a scalar, `map<key,value>`, or the full name of a message or an enumeration. */
export type Field = readonly [number: number, type: string, label?: Label];
/** Request, response, and which of them are streams. */
export type Method = readonly [request: string, response: string, streams?: 'client' | 'server' | 'both'];

/** Names are full: `vm_tools.EmptyMessage`. */
export interface ProtoTable {
  readonly messages: Readonly<Record<string, Readonly<Record<string, Field>>>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly services: Readonly<Record<string, Readonly<Record<string, Method>>>>;
}

type Name<T> = keyof T & string;

/** A value of the enumeration that the table does not know stays a number. */
type Value<Type, T extends ProtoTable> = Type extends Scalar
  ? Scalars[Type]
  : Type extends Name<T['enums']>
    ? Name<T['enums'][Type]> | number
    : Type extends Name<T['messages']>
      ? Message<T, Type>
      : never;

type Decoded<F, T extends ProtoTable> = F extends readonly [number, infer Type, 'repeated']
  ? readonly Value<Type, T>[]
  : F extends readonly [number, `map<${infer K},${infer V}>`]
    ? ReadonlyMap<Value<K, T>, Value<V, T>>
    : F extends readonly [number, infer Type]
      ? Type extends Name<T['messages']>
        ? Value<Type, T> | undefined
        : Value<Type, T>
      : F extends readonly [number, infer Type, Label]
        ? Value<Type, T> | undefined
        : never;

/** A message as it was decoded: every field is there. */
export type Message<T extends ProtoTable, N extends Name<T['messages']>> = {
  readonly [F in keyof T['messages'][N]]: Decoded<T['messages'][N][F], T>;
};

type InitValue<Type, T extends ProtoTable> = Type extends Name<T['messages']> ? MessageInit<T, Type> : Value<Type, T>;

type Encoded<F, T extends ProtoTable> = F extends readonly [number, infer Type, 'repeated']
  ? readonly InitValue<Type, T>[]
  : F extends readonly [number, `map<${infer K},${infer V}>`]
    ? ReadonlyMap<Value<K, T>, Value<V, T>>
    : F extends readonly [number, infer Type, Label?]
      ? InitValue<Type, T>
      : never;

/** A message to be encoded: what is left out has its default, or is not set. */
export type MessageInit<T extends ProtoTable, N extends Name<T['messages']>> = {
  readonly [F in keyof T['messages'][N]]?: Encoded<T['messages'][N][F], T> | undefined;
};
