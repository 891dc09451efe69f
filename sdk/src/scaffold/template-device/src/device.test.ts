import { attackDevice, driveDevice, seededRandom } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import device from './device.ts';

test('fills what the driver offers with throws', async () => {
  await using driven = await driveDevice(device, { options: { sides: 6 } });
  const { data } = await driven.exchange([], [64]);
  expect(data).toHaveLength(64);
  expect(data.every((side) => side >= 1 && side <= 6)).toBe(true);
});

test('new code goes on counting', async () => {
  await using driven = await driveDevice(device);
  await driven.exchange([], [16]);
  await driven.runner.replace(device);
  await driven.exchange([], [16]);
  expect(await driven.runner.handle('throws', undefined, [])).toBe(32);
});

test('refuses options that it does not know', async () => {
  await expect(driveDevice(device, { options: { sites: 6 } })).rejects.toMatchObject({ code: 'SDK_ERR_DEVICE' });
});

test('goes on after a guest that means harm', async () => {
  await using driven = await driveDevice(device, { driver: { indirect: true } });
  // Chains that point anywhere, rings that make no sense. The seed makes them the same ones each time.
  await attackDevice(driven, seededRandom(1));
  const { data } = await driven.exchange([], [16]);
  expect(data).toHaveLength(16);
});
