import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildGuestBundle, GUEST_FILES, guestBundleInputs, guestBundleSources, guestNode } from './guest-bundle.ts';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bundle-'));
  await Promise.all([buildGuestBundle(join(folder, 'a')), buildGuestBundle(join(folder, 'b'))]);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (...path: string[]): Buffer => readFileSync(join(folder, ...path));

/** What V8 says of its cache when the program is loaded, which does nothing: it is not the first process. */
function isRejected(of: string): string {
  const script = `require(${JSON.stringify(join(folder, of, GUEST_FILES.loader))}); console.log(runtimeCacheRejected)`;
  return execFileSync(guestNode(), ['-e', script], { encoding: 'utf8' }).trim();
}

test('two folders get the same bytes', () => {
  expect(readdirSync(join(folder, 'a')).sort()).toEqual(Object.values(GUEST_FILES).sort());
  for (const name of Object.values(GUEST_FILES)) expect(bytes('a', name).equals(bytes('b', name))).toBe(true);
});

test('V8 takes what it made, and the program starts without it too', () => {
  expect(isRejected('a')).toBe('false');
  writeFileSync(join(folder, 'b', GUEST_FILES.cache), 'of another Node');
  expect(isRejected('b')).toBe('true');
  rmSync(join(folder, 'b', GUEST_FILES.cache));
  expect(isRejected('b')).toBe('undefined');
});

test('the program is small, and has neither grpc-js nor zod nor the messages of the D-Bus in it', () => {
  const program = bytes('a', GUEST_FILES.program).toString('latin1');
  expect(program.length).toBeLessThan(200_000);
  expect(program).not.toContain('StartVmRequest');
  expect(program).not.toMatch(/grpc-js|ZodError/);
});

test('all that it is made of is looked at for changes', async () => {
  const bundler = join(import.meta.dirname, 'guest-bundle-main.ts');
  const args = ['--conditions=@runtime/source', bundler, join(folder, 'c')];
  const { stdout } = await promisify(execFile)(guestNode(), args);
  const sources = new Set(guestBundleSources());
  expect(JSON.parse(stdout).filter((file: string) => !sources.has(file))).toEqual([]);
});

test('its inputs are the same until something changes', async () => {
  expect(await guestBundleInputs()).toMatch(/^[0-9a-f]{64}$/);
  expect(await guestBundleInputs()).toBe(await guestBundleInputs());
});
