import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSubnet } from './container-network.ts';

test('the subnet of ChromeOS leaves 13 addresses for containers', () => {
  expect(parseSubnet('100.115.92.193/28')).toEqual({
    ...{ gateway: '100.115.92.193', prefix: 28, network: '100.115.92.192/28', netmask: '255.255.255.240' },
    ...{ first: '100.115.92.194', last: '100.115.92.206' },
  });
});

test('a VM with the last address gives those before it', () => {
  expect(parseSubnet('10.0.0.14/28')).toMatchObject({ first: '10.0.0.1', last: '10.0.0.13' });
});

test.each([
  '',
  '100.115.92.193',
  '100.115.92.193/30',
  '100.115.92.193/8',
  '256.0.0.1/28',
  '1.2.3.4/28; rm',
  '-1.2.3.4/28',
])('no subnet is %j', (text) => expect(parseSubnet(text)).toBeUndefined());

test('whatever is a subnet has its own gateway outside of what it gives', () => {
  const byte = fc.integer({ min: 0, max: 255 });
  fc.assert(
    fc.property(fc.tuple(byte, byte, byte, byte), fc.integer({ min: 16, max: 29 }), (bytes, prefix) => {
      const found = parseSubnet(`${bytes.join('.')}/${prefix}`);
      if (found === undefined) return;
      const number = (text: string): number => text.split('.').reduce((all, each) => all * 256 + Number(each), 0);
      const [first, last, gateway] = [found.first, found.last, found.gateway].map(number) as [number, number, number];
      expect(first).toBeLessThanOrEqual(last);
      expect(gateway < first || gateway > last).toBe(true);
      const size = 2 ** (32 - prefix);
      const network = Math.floor(gateway / size) * size;
      expect(first).toBeGreaterThan(network);
      expect(last).toBeLessThan(network + size - 1);
    }),
  );
});
