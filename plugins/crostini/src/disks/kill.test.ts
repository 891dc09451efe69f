// The runtime is killed while it works on disks: afterwards there is all of a file or nothing, once the next has started.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { diskRig, filesBelow, OWNER } from './test-rig.ts';

const PROGRAM = fileURLToPath(new URL('./test-programs/disk-job.ts', import.meta.url));
const MIB = 2 ** 20;
/** Of each kind; the moments are spread over what a job takes. */
const KILLS = Number(process.env.RUNTIME_DISK_KILLS ?? 2);
const SPREAD_MS = 900;

/** Starts a job in a process of its own, and kills it `afterMs` after it has begun. */
async function killed(args: readonly string[], afterMs: number): Promise<void> {
  const child = spawn(process.execPath, ['--conditions=@runtime/source', PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), exited]);
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  child.kill('SIGKILL');
  await exited;
}

test('whenever it is killed, nothing half-made is left', { timeout: 20_000 + KILLS * 6000 }, async () => {
  await using rig = diskRig();
  const noise = Buffer.alloc(24 * MIB);
  for (let at = 0; at < noise.length; at += 4) noise.writeUInt32LE(Math.imul(at ^ (at >>> 7), 2_654_435_761) >>> 0, at);
  const disk = await rig.disks.create({ vm: 'a', bytes: noise.length, allocation: 'sparse' });
  writeFileSync(disk.path, noise);
  const resized = await rig.disks.create({ vm: 'c', bytes: 2 * MIB });
  writeFileSync(resized.path, noise.subarray(0, 2 * MIB));
  const reference = join(rig.folder, 'reference.zst');
  await rig.ended(rig.disks.export({ vm: 'a', to: reference }));
  const container = readFileSync(reference);
  const stored = ['YQ==', 'Yw=='].flatMap((name) => [`crosvm/${OWNER}/${name}.img`, `crosvm/${OWNER}/${name}.json`]);
  const to = join(rig.folder, 'to.zst');
  const outcomes: string[] = [];

  for (let round = 0; round < KILLS; round += 1) {
    const afterMs = (SPREAD_MS * round) / KILLS;
    await killed([rig.folder, 'export', to], afterMs);
    const swept = diskRig({}, rig.folder);
    if (existsSync(to)) expect(readFileSync(to).equals(container)).toBe(true);
    outcomes.push(`export ${existsSync(to)}`);
    rmSync(to, { force: true });
    rmSync(`${to}.sha256`, { force: true });
    expect(filesBelow(rig.folder)).toEqual([...stored, 'reference.zst']);

    await killed([rig.folder, 'import', reference], afterMs);
    const { disks } = diskRig({}, rig.folder);
    const [copy] = await disks.list({ vm: 'b' });
    outcomes.push(`import ${copy !== undefined}`);
    if (copy !== undefined) {
      expect(readFileSync(copy.path).equals(noise)).toBe(true);
      expect(copy.type).toBe('termina');
      await disks.destroy({ vm: 'b' });
    }
    expect(filesBelow(rig.folder)).toEqual([...stored, 'reference.zst']);

    await killed([rig.folder, 'resize'], afterMs);
    await swept.disks[Symbol.asyncDispose]();
    const { size } = statSync(resized.path);
    outcomes.push(`resize ${size !== 2 * MIB}`);
    expect([2 * MIB, 64 * MIB]).toContain(size);
    expect(
      readFileSync(resized.path)
        .subarray(0, 2 * MIB)
        .equals(noise.subarray(0, 2 * MIB)),
    ).toBe(true);
    await diskRig({}, rig.folder).disks.destroy({ vm: 'c' });
    await rig.disks.create({ vm: 'c', bytes: 2 * MIB });
    writeFileSync(resized.path, noise.subarray(0, 2 * MIB));
  }
  // The first is killed before it can be done.
  expect(outcomes[0]).toBe('export false');
});
