// A virtio device by somebody who has never seen this project: written, tested, used by a Linux guest, changed while the
// guest uses it, and handed on.

import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { imageCache } from '@runtime/sdk/image';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ensureDefaultGuest } from '../../plugins/vmm/src/guest/default-guest.ts';
import { type Program, Stranger } from './stranger.ts';

const why = lacking();
if (why !== undefined) console.log(`skipped: a device in a guest; lacking: ${why}`);

/** What the machine lacks to boot a guest on a terminal, in words. */
function lacking(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const tools = ['qemu-system-x86_64', 'script'].filter((tool) => !folders.some((at) => existsSync(join(at, tool))));
  if (tools.length > 0) return `${tools.join(', ')} (apt-get install qemu-system-x86 bsdutils)`;
  return process.arch === 'x64' ? undefined : 'a guest for this architecture';
}

/** Prints 16 bytes of the device again and again, and says so if it once gets none. */
const DRAW =
  'while dd if=/dev/hwrng of=/run/d bs=16 count=1 2>/dev/null && [ -s /run/d ]; do hexdump -C /run/d | head -n1; usleep 100000; done; echo no more';

describe.skipIf(why !== undefined)('a new device', { timeout: 60_000 }, () => {
  const stranger = new Stranger();
  const dice = stranger.path('dice');
  const file = join(dice, 'src/device.ts');
  let source = '';

  beforeAll(async () => {
    // The kernel and the file system of the guest are the same for everybody.
    await ensureDefaultGuest();
    mkdirSync(stranger.path('cache/runtime'), { recursive: true });
    symlinkSync(imageCache(), stranger.path('cache/runtime/image'));
    await stranger.newPlugin('--device', 'dice');
    source = readFileSync(file, 'utf8');
  }, 900_000);
  afterEach(async () => {
    await stranger.stopAll();
    writeFileSync(file, source);
  });
  afterAll(async () => {
    await stranger[Symbol.asyncDispose]();
    await vi.waitFor(() => expect(stranger.leftOver()).toEqual([]), { timeout: 10_000 });
  }, 60_000);

  /** The die begins with `first` instead of 1. */
  const change = (first: number): void => writeFileSync(file, source.replace('return 1 +', `return ${first} +`));

  test('has at most 60 lines, type-checks, and its tests pass', async () => {
    const lines = ['device.ts', 'index.ts'].flatMap((name) => {
      return readFileSync(join(dice, 'src', name), 'utf8')
        .trimEnd()
        .split('\n');
    });
    expect(lines.length).toBeLessThanOrEqual(60);
    await stranger.npm(dice, 'run', 'check');
    expect(await stranger.npm(dice, 'test')).toMatch(/Tests +4 passed \(4\)/);
  });

  test('is used by a guest, and its code and process are replaced meanwhile', async () => {
    const guest = stranger.onTerminal(dice, 'npm run vm');
    await drawing(guest, 1);
    const device = (...words: string[]): Promise<string> => stranger.runtime(dice, 'vm', 'device', ...words);
    const throws = async (): Promise<number> => Number(await device('request', 'default', 'dice0', 'throws'));
    const before = await throws();
    expect(before).toBeGreaterThan(0);

    change(101);
    await device('reload', 'default', 'dice0');
    await drawing(guest, 101);
    expect(await throws()).toBeGreaterThan(before);

    writeFileSync(file, `${source}const x = ;`);
    await expect(device('reload', 'default', 'dice0')).rejects.toThrow(/its module does not load/);
    await drawing(guest, 101);

    change(201);
    await device('restart', 'default', 'dice0');
    await drawing(guest, 201);
    await leave(guest);
  });

  test('is changed by saving its file', async () => {
    const dev = await stranger.start(dice, 'plugin', 'dev', 'vmm', '.');
    const guest = stranger.onTerminal(dice, 'npx runtime vm run --name default --no-rng --device dice');
    await drawing(guest, 1);
    for (const first of [101, 201]) {
      const from = dev.output.length;
      change(first);
      await dev.says(/device dice0 of VM default has new code/, from);
      await drawing(guest, first);
    }
    writeFileSync(file, `${source}const x = ;`);
    await dev.says(/not reloaded.*device\.ts:\d+:11: Unexpected token/s);
    await drawing(guest, 201);
    await leave(guest);
    expect(await dev.stop()).toBe(0);
  });

  test('is packed, and works for somebody else', async () => {
    const user = stranger.path('user');
    mkdirSync(user);
    await stranger.npm(dice, 'pack', '--silent', `--pack-destination=${user}`);
    await stranger.install('user', 'dice-0.1.0.tgz');
    const command = ['vm', 'run', '--no-rng', '--device', 'dice,sides=20', '--format', 'json'];
    const found = JSON.parse(await stranger.runtime(user, '--plugins', 'vmm,dice', ...command)) as unknown;
    expect(found).toContainEqual({ check: 'rng', result: 'ok', detail: 'virtio_rng.0' });
  }, 300_000);
});

/** Waits until the guest draws only what a die of six sides gives that begins with `first`, for a while. */
async function drawing(guest: Program, first: number): Promise<void> {
  if (!guest.output.includes(DRAW.slice(0, 9))) {
    await guest.says(/guest:~# /);
    guest.type(`${DRAW}\n`);
  }
  const isOurs = (draw: readonly number[]): boolean => draw.every((byte) => byte >= first && byte < first + 6);
  // What the driver fetched in advance is of the old code.
  await guest.until(() => draws(guest).slice(-3).filter(isOurs).length === 3);
  const from = draws(guest).length;
  await guest.until(() => draws(guest).length >= from + 5);
  expect(draws(guest).slice(from).every(isOurs)).toBe(true);
  expect(guest.output).not.toMatch(/^no more/m);
}

function draws({ output }: Program): readonly (readonly number[])[] {
  return [...output.matchAll(/^00000000 ((?: +[0-9a-f]{2}){16}) +\|/gm)].map(([, bytes = '']) => {
    return bytes
      .trim()
      .split(/ +/)
      .map((byte) => Number.parseInt(byte, 16));
  });
}

/** Ends the guest as its user would. */
async function leave(guest: Program): Promise<void> {
  const from = guest.output.length;
  const interrupt = (): void => guest.type('\x03');
  interrupt();
  // The guest's shell misses it between two commands of a loop, and its user would press it again.
  const again = setInterval(interrupt, 3_000);
  try {
    await guest.says(/\^C\s+guest:~# /, from);
  } finally {
    clearInterval(again);
  }
  guest.type('exit\n');
  expect(await guest.exited).toBe(0);
}
