import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeErofs } from './rootfs.ts';
import { appendVerity } from './verity.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rootfs-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const lacksTool = !`${process.env.PATH}:/usr/sbin`.split(delimiter).some((at) => existsSync(join(at, 'mkfs.erofs')));

/** The same tree, its names made in a given order. */
function tree(name: string, order: readonly number[], mode = 0o4755): string {
  const at = join(folder, name);
  mkdirSync(at);
  for (const i of order) {
    mkdirSync(join(at, `d${i}`));
    writeFileSync(join(at, `d${i}`, 'large'), Buffer.alloc(9000 + i, i));
    writeFileSync(join(at, `small${i}`), `${i}`);
    symlinkSync(`small${i}`, join(at, `link${i}`));
  }
  chmodSync(join(at, 'small1'), mode);
  return at;
}

test.skipIf(lacksTool)('the same tree gives the same image, wherever and in whatever order it was made', async () => {
  const images = [join(folder, 'a'), join(folder, 'b'), join(folder, 'c')] as const;
  await makeErofs(tree('one', [1, 2, 3, 4, 5]), images[0]);
  await makeErofs(tree('two', [5, 3, 1, 4, 2]), images[1]);
  await makeErofs(tree('three', [1, 2, 3, 4, 5], 0o755), images[2]);
  const [a, b, c] = images.map((path) => readFileSync(path)) as [Buffer, Buffer, Buffer];
  expect(a.equals(b)).toBe(true);
  // Modes are kept, that of setuid as well.
  expect(a.equals(c)).toBe(false);
  expect((await appendVerity(images[0])).rootHash).toBe((await appendVerity(images[1])).rootHash);
});
