import { describe, expect, it } from 'vitest';
import { cellText, displayWidth, formatData, formatFields, formatTable, toJson } from './format.ts';

describe('tables', () => {
  it('align columns by what is seen, also of wide characters', () => {
    const rows = [
      { name: 'a', n: 5 },
      { name: '東京', n: 1234 },
    ];
    const text = formatTable(rows, [
      { title: 'NAME', value: (r) => r.name },
      { title: 'N', value: (r) => r.n, align: 'right' },
    ]);
    expect(text.split('\n')).toEqual(['NAME     N', 'a        5', '東京  1234']);
    expect(text.split('\n').map(displayWidth)).toEqual([10, 10, 10]);
  });

  it('cut long cells, and leave no space at the end of a line', () => {
    const text = formatTable([{ v: 'x'.repeat(100), w: '' }], [{ title: 'V', value: (r) => r.v }], 10);
    expect(text).toBe(`V\n${'x'.repeat(9)}…`);
  });

  it('show control characters instead of obeying them', () => {
    expect(cellText('a\x1b[2Jb\x07\nc')).toBe('a\\x1b[2Jb\\x07 c');
  });

  it.each<[unknown, string]>([
    [undefined, '-'],
    [null, '-'],
    [[], '-'],
    [true, 'yes'],
    [1.26, '1.3'],
    [2n ** 70n, '1180591620717411303424'],
    [['a', 'b'], 'a, b'],
    [{ start: 4096n }, '{"start":4096}'],
  ])('show %s as %j', (value, text) => {
    expect(cellText(value)).toBe(text);
  });
});

describe('data', () => {
  it('is a table when it is a list of records', async () => {
    expect(
      await formatData(
        [
          { id: 1, name: 'a' },
          { id: 20, more: true },
        ],
        'table',
      ),
    ).toBe('ID  NAME  MORE\n 1  a     -\n20  -     yes');
    expect(await formatData([], 'table')).toBe('(none)');
    const sizes = [{ bytes: 3 * 2 ** 30, 'used-bytes': 1000 }];
    expect(await formatData(sizes, 'table')).toBe('  BYTES  USED-BYTES\n3.0 GiB        1000');
    expect(JSON.parse(await formatData(sizes, 'json'))).toEqual(sizes);
    expect(await formatData(['a', 'b'], 'table')).toBe('a\nb');
    expect(await formatData('text', 'table')).toBe('text');
  });

  it('puts what is nested below its key', () => {
    expect(
      formatFields([
        ['vm', 'a'],
        ['disks', [{ path: '/x' }]],
      ]),
    ).toBe('vm     a\ndisks\n  PATH\n  /x');
  });

  it('keeps every digit in JSON', () => {
    expect(toJson({ small: 5n, large: 2n ** 63n, bytes: Uint8Array.of(1, 2), map: new Map([['k', 1n]]) })).toBe(
      '{"small":5,"large":"9223372036854775808","bytes":"AQI=","map":{"k":1}}',
    );
  });

  it('means the same in YAML as in JSON', async () => {
    const { parse } = await import('yaml');
    const value = [{ a: 1n, text: 'yes', none: null, list: ['x: y', '# no'] }];
    expect(parse(await formatData(value, 'yaml'))).toEqual(JSON.parse(await formatData(value, 'json')));
  });
});
