import { expect, test } from 'vitest';
import { parseKeyValues } from './key-values.ts';

const parse = (text: string) => parseKeyValues(text, '--block', 'path');

test.each([
  ['a.img', { path: 'a.img' }],
  ['a.img,ro', { path: 'a.img', ro: true }],
  ['path=a.img,ro=false,id=x', { path: 'a.img', ro: 'false', id: 'x' }],
  ['/dev/disk/by-id/x=y,ro', { path: '/dev/disk/by-id/x=y', ro: true }],
  ['"a,b.img",ro', { path: 'a,b.img', ro: true }],
  ['path=\'a b\',id="1,2"', { path: 'a b', id: '1,2' }],
  ['a,list=[1,2,"3,4"]', { path: 'a', list: ['1', '2', '3,4'] }],
  ['a,list=[]', { path: 'a', list: [] }],
  ['a,id=', { path: 'a', id: '' }],
])('%s', (text, expected) => {
  expect(parse(text)).toEqual(expected);
});

test('without a first key every value has its own', () => {
  expect(parseKeyValues('a=1,b', '--params')).toEqual({ a: '1', b: true });
});

test.each([
  ['a,ro,ro', 'ro is given twice (character 6)'],
  ['a,Ro', '"Ro" is no name of a setting (character 3)'],
  ['a,id="x', 'the quote has no end (character 6)'],
  ['a,id="x"y', '"y" is not expected there (character 9)'],
  ['a,list=[1,2', 'the list has no end'],
  ['a,,b', 'is no name of a setting'],
  ['x'.repeat(9000), 'it has more than 8192 characters'],
])('refuses %s', (text, expected) => {
  expect(() => parse(text)).toThrow(expected);
});
