import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from '../logging.ts';
import { type FakeClock, fakeClock } from '../test-programs/fake-clock.ts';
import { foundAt } from '../test-programs/lab/found.ts';
import { hostLimits, PROBE_IDLE_MS, PROBE_MS } from './limits.ts';
import { Probe } from './probe.ts';

let folder: string;
let clock: FakeClock;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'probe-'));
  clock = fakeClock();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A plugin that says which process it is loaded in, then runs `code`. */
function probeOf(code: string): Probe {
  const runtime = { plugin: 'looked-at', core: '*' };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'x', version: '1.0.0', type: 'module', runtime }));
  const begin = `import { writeFileSync } from 'node:fs'; writeFileSync('${join(folder, 'pid')}', String(process.pid));`;
  writeFileSync(join(folder, 'index.js'), `${begin}\n${code}`);
  const log = createLogger({ level: 'silent' });
  return new Probe({ found: foundAt(folder, 'index.js'), own: {}, limits: hostLimits({}), log, clock });
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}
const pidText = (): string => (existsSync(join(folder, 'pid')) ? readFileSync(join(folder, 'pid'), 'utf8') : '');
const isGone = (): boolean => !existsSync(`/proc/${pidText()}`);
const plugin = `export default { $$type: 'runtime.plugin/v1', name: 'looked-at', setup() {} }`;

it('ends a process whose plugin hangs while it is loaded', async () => {
  const probe = probeOf('for (;;);');
  const asked = probe.ask('describe');
  const refused = expect(asked).rejects.toMatchObject({ code: 'CORE_ERR_HOST_UNRESPONSIVE' });
  await until(() => pidText() !== '');
  expect(isGone()).toBe(false);
  clock.advance(PROBE_MS);
  await refused;
  await until(isGone);
});

it('uses one process for questions that follow each other, and ends it then', async () => {
  const probe = probeOf(plugin);
  expect(await probe.ask('describe')).toMatchObject({ name: 'looked-at', provides: [], config: false });
  const first = pidText();
  clock.advance(PROBE_IDLE_MS - 1);
  expect(await probe.ask('checkConfig', {})).toEqual({ issues: [] });
  expect(pidText()).toBe(first);
  clock.advance(PROBE_IDLE_MS);
  await until(isGone);
  expect(await probe.ask('describe')).toMatchObject({ name: 'looked-at' });
  expect(pidText()).not.toBe(first);
  clock.advance(PROBE_IDLE_MS);
  await until(isGone);
});
