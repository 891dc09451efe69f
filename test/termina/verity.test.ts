// An image of which a bit is another one: its VM does not start, its user is told why, and nothing else comes to harm.

import {
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { imageCache } from '@runtime/sdk/image';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Concierge, concierge } from '../../plugins/crostini/src/contract.ts';
import { ensureTermina } from '../../plugins/crostini/src/image/termina-image.ts';
import {
  chooseImage,
  chooseNewest,
  findImage,
  type ImageRecord,
  recordImage,
  removeImage,
  verifyImage,
} from '../../plugins/crostini/src/image/termina-store.ts';
import crostini from '../../plugins/crostini/src/index.ts';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';
import { type Vms, vms } from '../../plugins/vmm/src/contract.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { VERITY_BLOCK, verityLevels } from '../../sdk/src/image/verity.ts';
import { lacking } from '../vm/lab.ts';

const missing = lacking();
const MIN = 60_000;
/** Of the program that is process 1 in the guest. */
const READ_AT_BOOT = 'runtimeCacheRejected';
const SHARED = ['apt', 'base', 'debs', 'kernel', 'trees', 'rootfs', 'initrd'];

describe.skipIf(missing !== undefined)(
  `A damaged image${missing === undefined ? '' : ` (lacking: ${missing})`}`,
  () => {
    let folder: string;
    let runtime: TestRuntime;
    let termina: Concierge;
    let machines: Vms;
    let sound: ImageRecord;
    const before = { cache: process.env.RUNTIME_CACHE, run: process.env.XDG_RUNTIME_DIR };

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'tv-'));
      const known = imageCache();
      // The images of this test are not among its user's.
      mkdirSync(join(folder, 'cache/image'), { recursive: true });
      for (const name of SHARED) {
        mkdirSync(join(known, name), { recursive: true });
        symlinkSync(join(known, name), join(folder, 'cache/image', name));
      }
      process.env.RUNTIME_CACHE = join(folder, 'cache');
      process.env.XDG_RUNTIME_DIR = folder;
      sound = findImage((await ensureTermina({ profile: 'fast' })).id);
      const config = { crostini: { dbus: 'off', verity: 'on', profile: 'fast' } };
      runtime = await createTestRuntime({ plugins: [vmm, crostini], config, stateDirectory: join(folder, 'state') });
      termina = runtime.get(concierge);
      machines = runtime.get(vms);
    }, 10 * MIN);

    afterAll(async () => {
      await termina?.stopAllVms();
      await runtime?.[Symbol.asyncDispose]();
      for (const [name, value] of [
        ['RUNTIME_CACHE', before.cache],
        ['XDG_RUNTIME_DIR', before.run],
      ] as const) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
      rmSync(folder, { recursive: true, force: true });
    }, MIN);

    /** An image whose byte at `at` has another lowest bit, and which VMs start with from now on. */
    async function damaged(first: string, at: number): Promise<ImageRecord> {
      const rootfs = join(folder, `${first}.erofs`);
      copyFileSync(sound.rootfs, rootfs, constants.COPYFILE_FICLONE);
      const file = await open(rootfs, 'r+');
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, at);
      await file.write(Buffer.of((byte[0] as number) ^ 1), 0, 1, at);
      await file.close();
      const id = first.repeat(32);
      const record = await recordImage(id, async () => ({ ...sound, id, rootfs, madeAt: 1 }));
      chooseImage(record);
      return record;
    }

    const inGuest = async (name: string, command: string): Promise<string> => {
      const { directory } = await termina.endpoint(name);
      using session = await openVsh({ socketPath: join(directory, 'vsock.sock.g9001'), user: 'root', command });
      session.stdin.end();
      return (await text(session.stdout)).trim();
    };

    const refused = (name: string): Promise<unknown> =>
      termina.startVm({ name }).then(
        () => 'it started',
        (e: unknown) => e,
      );

    test(
      'a sound one starts, and says where its root lies',
      async () => {
        await termina.startVm({ name: 'sound' });
        const mount = await inGuest('sound', `awk '$2 == "/" {print $1, $3, substr($4, 1, 2)}' /proc/mounts`);
        expect(mount).toBe('/dev/dm-0 erofs ro');
      },
      4 * MIN,
    );

    test(
      'a changed bit that is read at boot is named, and `verify` finds it, too',
      async () => {
        const at = readFileSync(sound.rootfs).indexOf(READ_AT_BOOT);
        expect(at).toBeGreaterThan(0);
        const record = await damaged('a', at);
        const block = Math.floor(at / VERITY_BLOCK);
        expect(await refused('data')).toMatchObject({
          code: 'CROSTINI_ERR_IMAGE_DAMAGED',
          message: expect.stringMatching(`image ${record.id} .*: block ${block} does not match its hash`),
          remedy: expect.stringContaining(`runtime termina remove ${record.id}`),
        });
        await expect(verifyImage(record)).rejects.toMatchObject({
          message: expect.stringContaining(`block ${block} `),
        });
      },
      4 * MIN,
    );

    test(
      'so is one in the hash tree',
      async () => {
        const { dataBlocks } = sound;
        const block = Math.floor(readFileSync(sound.rootfs).indexOf(READ_AT_BOOT) / VERITY_BLOCK);
        const [, ...above] = verityLevels(dataBlocks);
        const leaves = dataBlocks + 1 + above.reduce((sum, blocks) => sum + blocks, 0);
        const record = await damaged('b', leaves * VERITY_BLOCK + block * 32);
        expect(await refused('tree')).toMatchObject({
          code: 'CROSTINI_ERR_IMAGE_DAMAGED',
          message: expect.stringMatching(/: block \d+, of its hash tree, does not match/),
        });
        await expect(verifyImage(record)).rejects.toMatchObject({ code: 'CROSTINI_ERR_IMAGE_DAMAGED' });
      },
      4 * MIN,
    );

    test(
      'and so is an image in the place of another one',
      async () => {
        const id = 'c'.repeat(32);
        const rootHash = sound.rootHash.replace(/./g, (digit) => (digit === '0' ? '1' : '0'));
        const record = await recordImage(id, async () => ({ ...sound, id, rootHash, madeAt: 1 }));
        chooseImage(record);
        expect(await refused('other')).toMatchObject({ code: 'CROSTINI_ERR_IMAGE_DAMAGED' });
        await expect(verifyImage(record)).rejects.toMatchObject({ code: 'CROSTINI_ERR_IMAGE_DAMAGED' });
      },
      4 * MIN,
    );

    test(
      'nothing else came to harm, and without the damaged ones VMs start again',
      async () => {
        expect((await termina.listVms()).map(({ name, state }) => [name, state])).toEqual([['sound', 'running']]);
        expect((await machines.list()).filter(({ state }) => state === 'running')).toHaveLength(1);
        expect(await inGuest('sound', 'cat /opt/runtime/program.js | wc -c')).toMatch(/^\d+$/);
        await verifyImage(sound);
        for (const first of ['a', 'b', 'c']) removeImage(findImage(first.repeat(8)));
        chooseNewest('fast');
        expect(existsSync(sound.rootfs)).toBe(true);
        await termina.startVm({ name: 'again' });
      },
      4 * MIN,
    );
  },
);
