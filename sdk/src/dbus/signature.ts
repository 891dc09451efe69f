// Types of values: https://dbus.freedesktop.org/doc/dbus-specification.html#type-system

import { errors } from '../errors.ts';

const SIGNATURE_MAX = 255;
/** Of arrays within arrays, and of structures within structures. */
const NESTING_MAX = 32;

/** Where values of each type begin, in bytes. */
const ALIGNMENT = {
  ...{ y: 1, b: 4, n: 2, q: 2, i: 4, u: 4, x: 8, t: 8, d: 8, h: 4 },
  ...{ s: 4, o: 4, g: 1, v: 1, a: 4, '(': 8, '{': 8 },
} as const;
export type TypeCode = keyof typeof ALIGNMENT;

export interface Type {
  readonly code: TypeCode;
  readonly alignment: number;
  /** Of an array its one element type, of a structure its fields, of an entry of a dictionary its key and its value. */
  readonly children: readonly Type[];
}

const BASIC = 'ybnqiuxtdhsog';

/**
 * The types that a signature names, one after the other. @throws SDK_ERR_DBUS_VALUE
 */
export function parseSignature(signature: string): readonly Type[] {
  let at = 0;
  const refuse = (why: string) =>
    errors.SDK_ERR_DBUS_VALUE({
      details: { value: JSON.stringify(signature.slice(0, 80)), what: `a signature: ${why}` },
    });
  if (signature.length > SIGNATURE_MAX) throw refuse(`it is longer than ${SIGNATURE_MAX}`);

  const make = (code: TypeCode, children: readonly Type[] = []): Type => ({
    code,
    alignment: ALIGNMENT[code],
    children,
  });
  const one = (arrays: number, structs: number): Type => {
    const code = signature[at++];
    if (code === undefined) throw refuse('it ends too early');
    if (code === 'v' || BASIC.includes(code)) return make(code as TypeCode);
    if (code === 'a') {
      if (arrays >= NESTING_MAX) throw refuse('arrays lie too deep in each other');
      return make('a', [signature[at] === '{' ? entry(arrays + 1, structs) : one(arrays + 1, structs)]);
    }
    if (code !== '(') throw refuse(`"${code}" is no type`);
    if (structs >= NESTING_MAX) throw refuse('structures lie too deep in each other');
    const fields: Type[] = [];
    while (signature[at] !== ')') fields.push(one(arrays, structs + 1));
    at++;
    // A value of no bytes would make an array of any number of them.
    if (fields.length === 0) throw refuse('a structure has no fields');
    return make('(', fields);
  };
  const entry = (arrays: number, structs: number): Type => {
    at++;
    if (structs >= NESTING_MAX) throw refuse('structures lie too deep in each other');
    const key = one(arrays, structs + 1);
    if (!BASIC.includes(key.code)) throw refuse('the key of a dictionary is no basic type');
    const value = one(arrays, structs + 1);
    if (signature[at++] !== '}') throw refuse('an entry of a dictionary has no key and value');
    return make('{', [key, value]);
  };

  const types: Type[] = [];
  while (at < signature.length) types.push(one(0, 0));
  return types;
}
