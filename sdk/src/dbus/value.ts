// What values of D-Bus are in JavaScript.

/** A value that brings its type along. */
export interface Variant {
  /** One complete type. */
  readonly signature: string;
  readonly value: Value;
}

/**
 * `y n q i u d` are numbers, `x t` bigints, `b` booleans, `s o g` strings, `h` a descriptor, `v` a {@link Variant}. An array
 * of bytes is a Uint8Array, one of dictionary entries a Map; others, and structures, are arrays.
 */
export type Value =
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Variant
  | readonly Value[]
  | ReadonlyMap<Value, Value>;

export function variant(signature: string, value: Value): Variant {
  return { signature, value };
}
