// Termina's image boots, has in it what it should, and does not boot when it was tampered with.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { imageCache } from '@runtime/sdk/image';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureTermina, type TerminaImage } from '../../plugins/crostini/src/image/termina-image.ts';
import { type Vms, vms } from '../../plugins/vmm/src/contract.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { lacking } from '../vm/lab.ts';
import { SCRIPT_DONE, scriptGuest } from './script-guest.ts';

const missing = lacking();
const MIN = 60_000;
const BOOT_MS = 2 * MIN;

// What it says is one word per line, `fact <name>=<value>`.
const SCRIPT = `
fact() { echo "fact $1=$2"; }
fact root "$(awk '$2 == "/" {print $1, $3, substr($4, 1, 2)}' /proc/mounts)"
fact chronos "$(id chronos)"
fact home "$(stat -c '%U %a' /home/chronos)"
fact node "$(node -p '1 + 1')"
for folder in /mnt/stateful /mnt/external /mnt/shared /etc/maitred; do [ -d $folder ] || fact lacking $folder; done
for program in bash tar gzip ip ps mount modprobe; do command -v $program > /dev/null || fact lacking $program; done
for program in dpkg apt perl; do command -v $program > /dev/null && fact needless $program; done
modprobe overlay && fact overlay "$(awk '$2 == "overlay"' /proc/filesystems | wc -l)"
touch /etc/x 2> /dev/null && fact writable /etc
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e /sys/class/misc/hw_random/rng_current ] && break; sleep 0.2; done
fact modules "$(cut -d' ' -f1 /proc/modules | sort | tr '\\n' ' ')"
`;

const factsOf = (log: string): Map<string, string> =>
  new Map([...log.matchAll(/^fact (\w+)=(.*?)\r?$/gm)].map(([, name = '', value = '']) => [name, value]));

// Modules are loaded by who needs them, as the kernel asks for them.
const FULL_SCRIPT = `
fact() { echo "fact $1=$2"; }
for program in lxd lxc lxcfs dnsmasq btrfs mkfs.ext4 nft socat attr; do
  command -v $program > /dev/null || fact lacking $program
done
fact lxd "$(lxd --version)"
ip link add lxdbr0 type bridge && ip link add v0 type veth peer name v1 && ip link set v0 master lxdbr0
fact links "$(ip -br link | cut -d' ' -f1 | sort | tr '\\n' ' ')"
nft -f - << 'RULES'
table inet t {
  chain c { type nat hook postrouting priority srcnat; ip saddr 100.115.92.0/24 masquerade; }
}
RULES
fact masquerade "$(nft list ruleset | grep -c masquerade)"
truncate -s 200M /tmp/disk && mkfs.btrfs -q /tmp/disk && mkdir /tmp/at && mount -o loop /tmp/disk /tmp/at
fact btrfs "$(stat -f -c %T /tmp/at)"
`;

const SHARED = ['apt', 'base', 'debs', 'kernel', 'trees'];

/** Another cache, with what is downloaded in common, so that the images of this test are not among its user's. */
function useCache(cache: string, known: string): void {
  mkdirSync(join(cache, 'image'), { recursive: true });
  for (const name of SHARED) {
    mkdirSync(join(known, name), { recursive: true });
    const link = join(cache, 'image', name);
    if (!existsSync(link)) symlinkSync(join(known, name), link);
  }
  process.env.RUNTIME_CACHE = cache;
}

describe.skipIf(missing !== undefined)(
  `Termina's image${missing === undefined ? '' : ` (lacking: ${missing})`}`,
  () => {
    let folder: string;
    let runtime: TestRuntime;
    let machines: Vms;
    let image: TerminaImage;
    const bundle = scriptGuest(SCRIPT);
    const cacheBefore = process.env.RUNTIME_CACHE;
    const known = imageCache();
    const cache = join(dirname(known), 'test-images');

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'ti-'));
      process.env.XDG_RUNTIME_DIR = folder;
      useCache(cache, known);
      image = await ensureTermina({ profile: 'fast', bundle });
      runtime = await createTestRuntime({ plugins: [vmm] });
      machines = runtime.get(vms);
    }, 10 * MIN);

    afterAll(async () => {
      await runtime?.[Symbol.asyncDispose]();
      if (cacheBefore === undefined) delete process.env.RUNTIME_CACHE;
      else process.env.RUNTIME_CACHE = cacheBefore;
      rmSync(folder, { recursive: true, force: true });
    }, MIN);

    /** Boots it and waits until the machine has ended by itself. @returns what was on its console */
    async function consoleOf(name: string, { kernel, initrd, params, rootfs }: TerminaImage): Promise<string> {
      await machines.start({
        // More than one CPU makes QEMU without KVM lose a guest in its boot now and then.
        ...{ name, kernel, initrd, params, mem: 1024, cpus: 1, net: [] },
        block: [{ path: rootfs, ro: true }],
      });
      const { consoleLog } = await machines.inspect(name);
      let log = '';
      for (const until = Date.now() + BOOT_MS; ; await sleep(100)) {
        const ended = !(await machines.list()).some((vm) => vm.name === name && vm.state === 'running');
        // Soon after its end it is removed; until then the guest waits a moment after its last line.
        if (existsSync(consoleLog)) log = readFileSync(consoleLog, 'utf8') || log;
        if (ended) return log;
        if (Date.now() > until) throw new Error(`${name} did not end; its console:\n${log.slice(-4000)}`);
      }
    }

    test(
      'boots with everything that runs commands and nothing that installs packages',
      async () => {
        const log = await consoleOf('fast', image);
        const facts = factsOf(log);
        expect(log).toContain(SCRIPT_DONE);
        expect(facts.get('root')).toBe('/dev/vda erofs ro');
        expect(facts.get('chronos')).toBe('uid=1000(chronos) gid=1000(chronos) groups=1000(chronos)');
        expect(facts.get('home')).toBe('chronos 700');
        expect(facts.get('node')).toBe('2');
        expect(facts.get('overlay')).toBe('1');
        for (const bad of ['lacking', 'needless', 'writable']) expect(facts.get(bad), bad).toBeUndefined();
        expect(facts.get('modules')).toMatch(/virtio_rng .*vmw_vsock_virtio_transport/);
      },
      3 * MIN,
    );

    test('full has what containers need', { timeout: 10 * MIN }, async () => {
      const full = await ensureTermina({ profile: 'full', bundle: scriptGuest(FULL_SCRIPT) });
      const log = await consoleOf('full', full);
      expect(log).toContain(SCRIPT_DONE);
      const facts = factsOf(log);
      expect(facts.get('lacking')).toBeUndefined();
      expect(facts.get('lxd')).toMatch(/^5\./);
      expect(facts.get('links')).toBe('lo lxdbr0 v0@v1 v1@v0 ');
      expect(facts.get('masquerade')).toBe('1');
      expect(facts.get('btrfs')).toBe('btrfs');
    });

    test(
      'with dm-verity, a changed bit stops the boot and the console says why',
      async () => {
        const checked = await ensureTermina({ profile: 'fast', bundle, verity: true });
        expect(checked.verity?.rootHash).toMatch(/^[0-9a-f]{64}$/);
        const sound = await consoleOf('sound', checked);
        expect(sound).toContain('fact root=/dev/dm-0 erofs ro');

        const rootfs = join(folder, 'tampered.erofs');
        copyFileSync(image.rootfs, rootfs);
        const bytes = readFileSync(rootfs);
        const at = bytes.indexOf('script-guest: node');
        expect(at).toBeGreaterThan(0);
        bytes[at] = (bytes[at] as number) ^ 1;
        writeFileSync(rootfs, bytes);
        const log = await consoleOf('tampered', { ...checked, rootfs });
        expect(log).toMatch(/verity: .*data block \d+ is corrupted/);
        expect(log).not.toContain(SCRIPT_DONE);
        // Only whoever checks notices: the same image boots without.
        expect(await consoleOf('unchecked', { ...image, rootfs })).toContain(SCRIPT_DONE);
      },
      8 * MIN,
    );

    test.each(['fast', 'full'] as const)(
      '%s, made in another folder by somebody with another umask, time zone and language, has the same bytes',
      { timeout: 10 * MIN },
      async (profile) => {
        // As its users have it, with the guest's own program.
        const first = await ensureTermina({ profile });
        const { TZ, LC_ALL } = process.env;
        const umask = process.umask(0o077);
        const other = mkdtempSync(join(tmpdir(), 'another-'));
        useCache(other, known);
        Object.assign(process.env, { TZ: 'Pacific/Kiritimati', LC_ALL: 'C.UTF-8' });
        try {
          const second = await ensureTermina({ profile });
          expect(second.id).toBe(first.id);
          for (const file of ['rootfs', 'initrd'] as const) {
            expect(second[file]).not.toBe(first[file]);
            expect(readFileSync(second[file]).equals(readFileSync(first[file])), file).toBe(true);
          }
        } finally {
          process.umask(umask);
          for (const [name, value] of Object.entries({ TZ, LC_ALL })) {
            if (value === undefined) delete process.env[name];
            else process.env[name] = value;
          }
          process.env.RUNTIME_CACHE = cache;
          rmSync(other, { recursive: true, force: true });
        }
      },
    );

    test('what is in the cache is found in less than 50 ms', async () => {
      const times: number[] = [];
      for (let i = 0; i < 5; i++) {
        const begun = performance.now();
        expect((await ensureTermina({ profile: 'fast', bundle })).id).toBe(image.id);
        times.push(performance.now() - begun);
      }
      expect(Math.min(...times)).toBeLessThan(50);
    });
  },
);
