import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BalloonRequest } from '@runtime/plugin-vmm/contract';
import { FakeClock } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { BalloonController } from './balloon-controller.ts';
import { type HostMemory, readHostMemory } from './pressure.ts';

const ROOM: HostMemory = { totalMib: 8_192, availableMib: 6_000, some10: 0, full10: 0 };
const SHORT: HostMemory = { ...ROOM, availableMib: 300 };

function rig() {
  const clock = new FakeClock();
  const asked: (BalloonRequest & { readonly machine: string })[] = [];
  const changes: unknown[] = [];
  const state = { host: ROOM as HostMemory | undefined, actualMib: 1_024, usedMib: 200, fails: false };
  const vms = [{ key: 'foo 1', name: 'foo', owner: 'ab', machine: 't-foo', maxMib: 1_024 }];
  const controller = new BalloonController({
    clock,
    list: () => vms,
    host: () => state.host,
    realtime: () => clock.now() / 1_000,
    minMib: 256,
    balloon: async (machine, request) => {
      asked.push({ machine, ...request });
      if (state.fails) throw new Error('it has ended');
      state.actualMib = request.targetMib ?? state.actualMib;
      const { actualMib, usedMib } = state;
      const guest = { totalMib: actualMib - 60, availableMib: actualMib - 60 - usedMib };
      return { actualMib, guest: { ...guest, at: clock.now() / 1_000, freeMib: 0, swappedIn: 0, majorFaults: 0 } };
    },
    onChange: ({ name }, { targetMib, why }) => changes.push([name, targetMib, why]),
  });
  return { clock, asked, changes, state, vms, controller };
}

test('while the host has room, guests are left alone', async () => {
  const { clock, asked, changes, controller } = rig();
  await clock.advanceAsync(60_000);
  expect(asked).toEqual([
    { machine: 't-foo', statsSeconds: 2 },
    { machine: 't-foo', statsSeconds: 0 },
  ]);
  expect(changes).toEqual([]);
  controller[Symbol.dispose]();
  expect(clock.pending).toBe(0);
});

test('a host that is short is given memory, and gives it back', async () => {
  const { clock, asked, changes, state, controller } = rig();
  await clock.advanceAsync(5_000);
  state.host = SHORT;
  await clock.advanceAsync(30_000);
  // What it uses, its kernel, and an eighth to spare.
  expect(state.actualMib).toBeLessThan(420);
  expect(state.actualMib).toBeGreaterThanOrEqual(388);
  expect(changes[0]).toEqual(['foo', expect.any(Number), 'host-short']);
  state.usedMib = 320;
  await clock.advanceAsync(2_000);
  expect(changes.at(-1)).toEqual(['foo', expect.any(Number), 'guest-short']);
  state.host = ROOM;
  await clock.advanceAsync(40_000);
  expect(state.actualMib).toBe(1_024);
  expect(asked.at(-1)).toEqual({ machine: 't-foo', statsSeconds: 0 });
  controller[Symbol.dispose]();
});

test('VMs come and go, machines fail, and a host may not tell', async () => {
  const { clock, changes, state, vms, controller } = rig();
  state.host = undefined;
  await clock.advanceAsync(5_000);
  state.host = SHORT;
  state.fails = true;
  await clock.advanceAsync(5_000);
  expect(changes).toEqual([]);
  state.fails = false;
  await clock.advanceAsync(3_000);
  expect(changes.length).toBeGreaterThan(0);
  vms.length = 0;
  changes.length = 0;
  await clock.advanceAsync(5_000);
  state.actualMib = 1_024;
  vms.push({ key: 'foo 2', name: 'foo', owner: 'ab', machine: 't-foo', maxMib: 1_024 });
  await clock.advanceAsync(1_000);
  expect(changes[0]).toEqual(['foo', 1_024 - 167, 'host-short']);
  controller[Symbol.dispose]();
});

test('proc is understood, with pressure or without', () => {
  const proc = mkdtempSync(join(tmpdir(), 'proc-'));
  expect(readHostMemory(proc)).toBeUndefined();
  writeFileSync(join(proc, 'meminfo'), 'MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:    8192000 kB\n');
  expect(readHostMemory(proc)).toEqual({ totalMib: 16_000, availableMib: 8_000, some10: 0, full10: 0 });
  mkdirSync(join(proc, 'pressure'));
  const lines = 'some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=3.01 avg60=0.00 avg300=0.00 total=1\n';
  writeFileSync(join(proc, 'pressure', 'memory'), lines);
  expect(readHostMemory(proc)).toMatchObject({ some10: 12.5, full10: 3.01 });
  rmSync(proc, { recursive: true });
  expect(readHostMemory()).toMatchObject({ totalMib: expect.any(Number) });
});
