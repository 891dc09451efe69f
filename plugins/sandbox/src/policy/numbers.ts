// Whole numbers as strtol(3) with base 0 has them, in the width of the architecture.

export type NumberProblem = 'not a number' | 'too large' | 'too small';

const NUMBER = /^(-?)(?:0[xX]([0-9a-fA-F]{1,32})|0([0-7]{1,64})|([0-9]{1,64}))$/;

/**
 * Negative numbers come back as two's complement.
 * @param decimalZeros whether 08 is 8, as in Python's dialect, where strtol() stops
 */
export function parseNumber(text: string, bits: 32 | 64, decimalZeros: boolean): bigint | NumberProblem {
  const match = NUMBER.exec(text);
  if (match === null) return 'not a number';
  const [, sign, hex, octal, decimal] = match;
  if (decimal !== undefined && decimal.length > 1 && decimal.startsWith('0') && !decimalZeros) return 'not a number';
  const size =
    hex !== undefined ? BigInt(`0x${hex}`) : octal !== undefined ? BigInt(`0o${octal}`) : BigInt(decimal ?? '');
  return fit(sign === '-' ? -size : size, bits);
}

/** A value of a table, which may be negative, as a word. */
export function fit(value: bigint, bits: 32 | 64): bigint | NumberProblem {
  if (value >= 1n << BigInt(bits)) return 'too large';
  if (value < -(1n << BigInt(bits - 1))) return 'too small';
  return BigInt.asUintN(bits, value);
}
