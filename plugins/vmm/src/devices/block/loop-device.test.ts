// A block device of the host as a disk, with sectors of 512 and of 4096 bytes. Needs loop devices, and to be root.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { driveDevice } from '@runtime/sdk/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openBlock } from './host.ts';
import device from './index.ts';
import { RequestType, Status } from './protocol.ts';

const BYTES = 2 ** 20;

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'block-loop-'));
  path = join(folder, 'disk.img');
  writeFileSync(path, Buffer.alloc(BYTES, 0x5a));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** `undefined`: this machine gives none. */
function attach(sectorSize: number): (Disposable & { readonly device: string }) | undefined {
  try {
    const args = ['--find', '--show', '--sector-size', String(sectorSize), path];
    const name = execFileSync('losetup', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return { device: name, [Symbol.dispose]: () => execFileSync('losetup', ['--detach', name]) };
  } catch {
    return undefined;
  }
}

function header(type: number, sector = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(8, sector, true);
  return bytes;
}

test.each([
  [512, false],
  [4096, true],
])('with sectors of %i bytes (direct: %s)', async (sectorSize, direct) => {
  using loop = attach(sectorSize);
  if (loop === undefined) {
    console.log('skipped: losetup gives no loop device here');
    return;
  }
  if (direct) {
    const wrong = () => openBlock({ path: loop.device, direct });
    expect(wrong).toThrow(expect.objectContaining({ code: 'VMM_ERR_DISK_OPEN' }));
  }
  const blockSize = sectorSize;
  {
    using opened = openBlock({ path: loop.device, direct, blockSize });
    await using driven = await driveDevice(device, { options: opened.options, fds: opened.fds });
    expect(new DataView(driven.runner.readConfig(0, 8).slice().buffer).getUint32(0, true)).toBe(BYTES / 512);
    const statusOf = async (bytes: Uint8Array[], room: number[]): Promise<number | undefined> =>
      (await driven.exchange(bytes, room)).data.at(-1);
    const data = new Uint8Array(4096).fill(7);
    if (!direct) expect(await statusOf([header(RequestType.out, 8), data], [1])).toBe(Status.ok);
    const range = new Uint8Array(16);
    new DataView(range.buffer).setUint32(0, 64, true);
    new DataView(range.buffer).setUint32(8, 64, true);
    expect(await statusOf([header(RequestType.writeZeroes), range], [1])).toBe(Status.ok);
    expect(await statusOf([header(RequestType.discard), range], [1])).toBe(Status.ok);
    expect(await statusOf([header(RequestType.flush)], [1])).toBe(Status.ok);
    expect(await statusOf([header(RequestType.in, BYTES / 512)], [4096, 1])).toBe(Status.ioError);
    await expect(driven.runner.handle('resize', { capacity: 2 * BYTES }, [])).rejects.toMatchObject({
      code: 'VMM_ERR_DISK_RESIZE',
    });
    const content = readFileSync(path);
    expect(content.subarray(64 * 512, 128 * 512).every((byte) => byte === 0)).toBe(true);
    expect(content.subarray(128 * 512).every((byte) => byte === 0x5a)).toBe(true);
    if (!direct) expect(content.subarray(4096, 8192).every((byte) => byte === 7)).toBe(true);
  }
});
