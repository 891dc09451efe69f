import { expect, test } from 'vitest';
import { dashedKeys } from './data-keys.ts';

test('keys are words joined by "-", at every depth, and nothing else changes', () => {
  const given = { memoryNowMib: 1, ipv4: 'aB', devices: [{ tokenOf: null, cid: 3 }], at: { uptimeS: undefined } };
  expect(dashedKeys(given)).toEqual({
    ...{ 'memory-now-mib': 1, ipv4: 'aB', devices: [{ 'token-of': null, cid: 3 }], at: { 'uptime-s': undefined } },
  });
});
