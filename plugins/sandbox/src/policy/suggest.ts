// "Did you mean …?" for tables longer than the core looks through.

import { didYouMean } from '@runtime/sdk';

/** The first letter is taken to be right. */
export function suggest(word: string, names: Iterable<string>): string {
  const first = word.slice(0, 1).toLowerCase();
  return didYouMean(
    word,
    [...names].filter((name) => name.slice(0, 1).toLowerCase() === first && Math.abs(name.length - word.length) <= 4),
  );
}
