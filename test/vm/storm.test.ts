// A guest writes and verifies while the code of its disk is replaced and the disk's process is killed, again and again.

import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { resolveDevice } from '@runtime/sdk';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { builtInKind } from '../../plugins/vmm/src/device-kinds.ts';
import { type Booted, Lab, lacking } from './lab.ts';

const RELOADS = 50;
const KILLS = 20;
/** How long fio runs, of which the storm takes the first half. */
const SECONDS = 45;
const ROOT = join(import.meta.dirname, '../..');
const why = lacking();
if (why !== undefined) console.log(`skipped: the storm on a disk; lacking: ${why}`);

describe.skipIf(why !== undefined)('while fio verifies', () => {
  let lab: Lab;
  let vm: Booted;
  let source: string;

  beforeAll(async () => {
    lab = await Lab.open();
    // A copy of the plugin, whose code may be changed.
    const copy = lab.path('vmm');
    cpSync(join(ROOT, 'plugins/vmm'), copy, { recursive: true, filter: (path) => !path.includes('node_modules') });
    symlinkSync(join(ROOT, 'node_modules'), lab.path('node_modules'));
    source = join(copy, 'src/devices/block/protocol.ts');
    const block = builtInKind('block');
    if (block === undefined) throw new Error('there is no kind "block"');
    const own = { ...block, kind: 'own-block', module: { root: copy, file: join(copy, 'src/devices/block/index.ts') } };
    lab.runtime.hooks.tap(resolveDevice, (kind) => (kind === 'own-block' ? own : undefined));
    vm = await lab.boot('storm', {
      device: [{ kind: 'own-block', id: 'disk', path: lab.image('disk.raw', 512 * 2 ** 20), serial: 'disk' }],
    });
  }, 900_000);
  afterAll(() => lab?.[Symbol.asyncDispose](), 60_000);

  test(`the disk's code is changed ${RELOADS} times and its process killed ${KILLS} times, and the guest sees nothing`, async () => {
    await vm.sh('mkfs.ext4 -q /dev/vdb && mkdir -p /mnt/disk && mount /dev/vdb /mnt/disk');
    const fio = await vm.guest.start(
      'fio --name=verify --directory=/mnt/disk --size=128m --bs=4k-64k --rw=randrw --direct=1 --ioengine=libaio --iodepth=16 ' +
        `--verify=crc32c --verify_fatal=1 --verify_backlog=256 --time_based --runtime=${SECONDS} --output-format=terse; echo "exit $?"`,
    );
    let over = false;
    void fio.done.then(() => {
      over = true;
    });
    const original = readFileSync(source, 'utf8');
    for (let i = 1; i <= RELOADS; i++) {
      writeFileSync(source, `${original}\nexport const GENERATION = ${i};\n`);
      await lab.vms.reloadDevice('storm', 'disk');
      if (i % Math.floor(RELOADS / KILLS) === 0 && i / Math.floor(RELOADS / KILLS) <= KILLS) {
        process.kill(await vm.pid('disk'), 'SIGKILL');
        await sleep(150);
      }
      await sleep(100);
    }
    const { restarts } = (await lab.vms.inspect('storm')).devices.find(({ id }) => id === 'disk') ?? {};
    expect(restarts).toBe(KILLS);
    // It has seen all of it, and ends by itself.
    expect(over).toBe(false);
    const { output } = await fio.done;
    expect(output).not.toMatch(/verify:|error=|bad magic/i);
    expect(output).toMatch(/exit 0\s*$/);
    expect(await vm.sh('dmesg | grep -iE "I/O error|EXT4-fs error|buffer i/o|timeout|reset" || true')).toBe('');
    const described = await lab.vms.describeDevice('storm', 'disk');
    expect(described).toMatchObject({ connected: true });
  }, 600_000);

  test('a process that is killed while its code is broken gets its device when the code is mended', async () => {
    const original = readFileSync(source, 'utf8');
    const describeDisk = (): Promise<unknown> => lab.vms.describeDevice('storm', 'disk');
    const kill = async (): Promise<void> => {
      writeFileSync(source, `${original}\nconst x = ;\n`);
      process.kill(await vm.pid('disk'), 'SIGKILL');
      await vi.waitFor(() => expect(describeDisk()).rejects.toThrow(/did not come back: .*does not load/), {
        timeout: 10_000,
      });
      writeFileSync(source, original);
    };
    const read = (): Promise<string> => vm.sh('dd if=/dev/vdb of=/dev/null bs=4k count=16 iflag=direct && echo read');

    await kill();
    await lab.vms.reloadDevice('storm', 'disk');
    expect(await describeDisk()).toMatchObject({ connected: true });
    expect(await read()).toContain('read');

    // Nor does it need to be asked.
    await kill();
    await vi.waitFor(async () => expect(await describeDisk()).toMatchObject({ connected: true }), { timeout: 10_000 });
    expect(await read()).toContain('read');
  }, 120_000);
});
