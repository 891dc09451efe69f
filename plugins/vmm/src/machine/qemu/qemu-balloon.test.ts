import fc from 'fast-check';
import { expect, test } from 'vitest';
import { askBalloon } from './qemu-balloon.ts';

const stats = {
  'stat-total-memory': 900 * 2 ** 20,
  'stat-available-memory': 700 * 2 ** 20,
  'stat-free-memory': 600 * 2 ** 20,
  'stat-swap-in': 0,
  'stat-major-faults': 12,
  'stat-disk-caches': 2 ** 64,
};

function qemu(told: unknown) {
  const asked: unknown[] = [];
  const execute = async (command: string, args: unknown = {}): Promise<unknown> => {
    asked.push([command, args]);
    return command === 'query-balloon' ? { actual: 2 ** 30 } : command === 'qom-get' ? told : {};
  };
  return { asked, execute };
}
const balloon = { vm: 'foo', id: 'balloon0' };

test('a target is set, and what the guest tells is understood', async () => {
  const qmp = qemu({ 'last-update': 1_700_000_000, stats });
  expect(await askBalloon(qmp, balloon, { targetMib: 512, statsSeconds: 2 })).toEqual({
    actualMib: 1024,
    guest: { at: 1_700_000_000, totalMib: 900, availableMib: 700, freeMib: 600, swappedIn: 0, majorFaults: 12 },
  });
  const path = '/machine/peripheral/balloon0';
  expect(qmp.asked).toEqual([
    ['qom-set', { path, property: 'guest-stats-polling-interval', value: 2 }],
    ['balloon', { value: 2 ** 29 }],
    ['query-balloon', {}],
    ['qom-get', { path, property: 'guest-stats' }],
  ]);
});

test('a guest that has told nothing has told nothing', async () => {
  for (const told of [
    undefined,
    { 'last-update': 0, stats },
    { 'last-update': 5, stats: { 'stat-total-memory': -1 } },
  ]) {
    expect(await askBalloon(qemu(told), balloon, {})).toEqual({ actualMib: 1024 });
  }
});

test('without a balloon there is a coded error', async () => {
  await expect(askBalloon(qemu({}), { ...balloon, id: undefined }, {})).rejects.toMatchObject({
    code: 'VMM_ERR_BALLOON',
  });
});

test('whatever QEMU answers is taken, or left out', async () => {
  await fc.assert(
    fc.asyncProperty(fc.anything(), async (told) => {
      const { guest } = await askBalloon(qemu(told), balloon, {});
      if (guest !== undefined) for (const value of Object.values(guest)) expect(value).toBeGreaterThanOrEqual(0);
    }),
  );
});
