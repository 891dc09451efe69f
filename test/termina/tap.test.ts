// VMs that have a tap, rules of nftables and a name server: in a network of their own, with the rest of the world beside it.

import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { beforeAll, describe, expect, test } from 'vitest';
import { ensureTermina } from '../../plugins/crostini/src/image/termina-image.ts';
import { tapLack } from '../../plugins/crostini/src/network/programs.ts';
import { lacking } from '../vm/lab.ts';

const MIN = 60_000;
/** In namespaces of its own; what it starts ends with it. */
const ALONE = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
const namespaces = spawnSync('unshare', [...ALONE, 'true']).status === 0;
const why = lacking() ?? tapLack()?.why ?? (namespaces ? undefined : 'no network namespace can be made here');
if (why !== undefined) console.log(`skipped: VMs with a tap; ${why}`);

const NOTHING = { taps: 0, tables: 0, servers: 0, claims: false, forwarding: '0' };
const TWO = { taps: 2, tables: 1, servers: 2, claims: true, forwarding: '1' };
const ONE = { ...TWO, taps: 1, servers: 1 };
const PAGE = 'you are 203.0.113.1';

describe.skipIf(why !== undefined)('VMs with a tap', () => {
  let report: Readonly<Record<string, unknown>> = {};

  beforeAll(async () => {
    // In there is no mirror of Debian.
    await ensureTermina({ profile: 'fast' });
    const program = join(import.meta.dirname, 'tap-world.ts');
    const child = spawn('unshare', [...ALONE, process.execPath, '--conditions=@runtime/source', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    report = JSON.parse(await text(child.stdout));
    expect(report.failure, String(report.log)).toBeUndefined();
  }, 10 * MIN);

  test('have an interface, a name server and rules', () => {
    expect(report.running).toEqual(TWO);
    expect(report.network).toContain('100.115.92.26/30');
    expect(report.network).toContain('default via 100.115.92.25');
    expect(report.network).toContain('nameserver 100.115.92.25');
  });

  test('fetch a page of the world, by name', () => {
    expect(report.web).toBe(PAGE);
  });

  test('reach neither each other nor servers of the host', () => {
    expect(report.otherGuest).toMatch(/No route to host|refused|unreachable/);
    for (const tried of report.host as string[]) {
      expect(tried).not.toContain('secret');
      expect(tried).toMatch(/No route to host|unreachable/);
    }
  });

  test('cannot speak in the name of another', () => {
    expect(report.heard).toEqual([[], ['203.0.113.1']]);
  });

  test('keep their network when the runtime is killed, and under the next one', () => {
    expect(report.withoutRuntime).toEqual([PAGE, TWO]);
    expect(report.found).toEqual([PAGE, TWO]);
  });

  test('leave nothing when they stop', () => {
    expect(report.oneLeft).toEqual([PAGE, ONE]);
    expect(report.stopped).toEqual(NOTHING);
  });

  test('of a runtime that was killed in a start or a stop leave nothing under the next one', () => {
    expect(report.killed).toEqual([NOTHING, NOTHING, NOTHING]);
  });

  test('that ended while there was no runtime leave nothing under the next one', () => {
    expect(report.allKilled).toMatchObject({ tables: 1, servers: 1, claims: true });
    expect(report.swept).toEqual([[], NOTHING]);
  });
});
