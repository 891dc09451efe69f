import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { didYouMean, nearest } from './nearest.ts';

describe('nearest', () => {
  it.each([
    ['crostni', ['crostini', 'venus'], 'crostini'],
    ['isoaltion', ['config', 'isolation'], 'isolation'],
    ['Venus', ['venus'], 'venus'],
    ['x', ['crostini'], undefined],
    ['settings', ['plugins', 'pools'], undefined],
    ['', ['a'], 'a'],
  ])('%j among %j is %j', (word, candidates, expected) => {
    expect(nearest(word, candidates)).toBe(expected);
  });

  it('prefers the closest, and the first of equals', () => {
    expect(nearest('vm-star', ['vm-start', 'vm-stat'])).toBe('vm-start');
    expect(nearest('plugim', ['plugins', 'plugin'])).toBe('plugin');
  });

  it('finds a word with one letter changed, whatever the word', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z]{4,20}$/), fc.nat(19), (word, at) => {
        const i = at % word.length;
        const typo = `${word.slice(0, i)}#${word.slice(i + 1)}`;
        expect(nearest(typo, ['########################', word])).toBe(word);
      }),
    );
  });

  it('fits the end of a message', () => {
    expect(didYouMean('hepl', ['help'])).toBe('; did you mean "help"?');
    expect(didYouMean('qqqqqq', ['help'])).toBe('');
  });
});
