// Numbers and names of the kernel's headers, joined by `|`, as minijail0 takes them.

import { architectureCalled, tablesOf } from '../policy/tables.ts';

/** `undefined`: a part is neither. */
export function evaluateConstant(text: string): bigint | undefined {
  const { constants } = tablesOf(architectureCalled(process.arch));
  let sum = 0n;
  for (const part of text.split('|')) {
    const word = part.trim();
    const value = /^(0x[0-9a-f]+|\d+)$/i.test(word) ? BigInt(word) : constants.get(word);
    if (value === undefined) return undefined;
    sum |= value;
  }
  return sum;
}
