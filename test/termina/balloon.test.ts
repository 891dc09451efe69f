// The memory of a VM goes back to the host when it is asked for, and comes again when the guest needs it.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { BalloonController } from '../../plugins/crostini/src/concierge/balloon-controller.ts';
import type { HostMemory } from '../../plugins/crostini/src/concierge/pressure.ts';
import { vms } from '../../plugins/vmm/src/contract.ts';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const missing = lacking();
const MIN = 60_000;
const MAX_MIB = 768;

describe.skipIf(missing !== undefined)(`balloon${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  const rig = new TerminaRig();
  beforeAll(() => rig.open(), 10 * MIN);
  afterAll(() => rig.close(), MIN);

  test(
    'the machine of a guest shrinks while the host is short, and grows when it has room',
    async () => {
      const { pid, machine } = await rig.termina.startVm({ name: 'foo', profile: 'fast', memoryMib: MAX_MIB });
      const pss = (): number => pssMib(pid ?? 0);
      // Its caches have all of it: files in memory that are removed again.
      await rig.inGuest('foo', 'head -c 350M /dev/zero > /dev/shm/full; sync');
      const filled = pss();
      expect(filled).toBeGreaterThan(350);
      await rig.inGuest('foo', 'rm /dev/shm/full');

      const room: HostMemory = { totalMib: 16_384, availableMib: 12_000, some10: 0, full10: 0 };
      let host: HostMemory = { ...room, availableMib: 500 };
      const changes: string[] = [];
      using _controller = new BalloonController({
        list: () => [{ key: 'foo', name: 'foo', owner: '', machine, maxMib: MAX_MIB }],
        balloon: (name, request) => rig.runtime.get(vms).balloon(name, request),
        minMib: 256,
        host: () => host,
        onChange: (_, { why }) => changes.push(why),
      });
      const actual = async (): Promise<number> => (await rig.runtime.get(vms).balloon(machine)).actualMib;
      await vi.waitFor(async () => expect(await actual()).toBeLessThan(450), { timeout: 2 * MIN, interval: 1_000 });
      expect(new Set(changes)).toEqual(new Set(['host-short']));
      await vi.waitFor(() => expect(pss()).toBeLessThan(filled - 200), { timeout: MIN, interval: 1_000 });
      // What is in the balloon counts as used, not as missing: the guest takes it back before it kills for memory.
      const available = Number(/MemAvailable: +(\d+)/.exec(await rig.inGuest('foo', 'cat /proc/meminfo'))?.[1]) / 1024;
      expect(available).toBeLessThan(350);

      host = room;
      await vi.waitFor(async () => expect(await actual()).toBe(MAX_MIB), { timeout: 2 * MIN, interval: 1_000 });
      expect(await rig.inGuest('foo', 'head -c 350M /dev/zero | tail -c 1 | wc -c')).toBe('1');
    },
    8 * MIN,
  );
});

/** Of a process: what it shares is counted by its share. */
function pssMib(pid: number): number {
  return Number(/^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024;
}
