import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { programPath, tapLack } from './programs.ts';
import { MAX_CONNECTIONS } from './ruleset.ts';

const missing = (['ip', 'unshare'] as const).find((name) => programPath(name) === undefined);
const lack = missing === undefined ? tapLack()?.why : `there is no ${missing}`;
/** In namespaces of its own; what it starts ends with it. */
const ALONE = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
const namespace = spawnSync('unshare', [...ALONE, 'true']).status === 0;
const why = lack ?? (namespace ? undefined : 'no network namespace can be made here');
if (why !== undefined) process.stdout.write(`taps of VMs are not tested: ${why}\n`);

describe.skipIf(why !== undefined)('guests with a tap, in namespaces', () => {
  let report: Readonly<Record<string, unknown>>;

  beforeAll(() => {
    const program = join(import.meta.dirname, 'test-programs', 'tap-networks.ts');
    const { stdout, stderr } = spawnSync(
      'unshare',
      [...ALONE, process.execPath, '--conditions=@runtime/source', program],
      { encoding: 'utf8', timeout: 80_000, killSignal: 'SIGKILL' },
    );
    expect(stderr).toBe('');
    report = JSON.parse(stdout);
  }, 90_000);

  test('have networks of their own, and names from their gateway', () => {
    expect(report.subnets).toMatchObject([
      { address: '100.115.92.26', gateway: '100.115.92.25', dns: '100.115.92.25' },
      { address: '100.115.92.30', gateway: '100.115.92.29', dns: '100.115.92.29' },
    ]);
    expect(report.names).toEqual([['203.0.113.2'], 'ENOTFOUND']);
  });

  test('reach the world in the name of this computer', () => {
    expect(report.web).toBe('you are 203.0.113.1');
  });

  test('reach nothing of this computer but its name server', () => {
    expect(report.gateway).toEqual({
      ping: 'answer',
      port: 'EHOSTUNREACH',
      others: 'silence',
      uplink: 'EHOSTUNREACH',
    });
  });

  test('do not reach each other', () => {
    expect(report.otherGuest).toEqual(['EHOSTUNREACH', 'silence']);
  });

  test('cannot speak in the name of another', () => {
    expect(report.heard).toEqual([[], ['203.0.113.1']]);
  });

  test('take so much of what the kernel keeps in mind, and no more, and nothing from others', () => {
    expect(report.tracked).toBeGreaterThan(MAX_CONNECTIONS - 100);
    expect(report.tracked).toBeLessThan(MAX_CONNECTIONS + 100);
    expect(report.otherWhileFlooded).toEqual(['203.0.113.2']);
  });

  test('are not reached from outside, nor is their name server', () => {
    expect(report.fromOutside).toEqual(['silence', 'silence', 'open']);
  });

  test('keep their network while there is no runtime, and while the next one finds them', () => {
    expect(report.withoutRuntime).toEqual(['203.0.113.2']);
    expect(report.bothWhileFound).toEqual(['203.0.113.2']);
    expect(report.afterFound).toEqual([['203.0.113.2'], 'you are 203.0.113.1']);
  });

  test('of two runtimes have different networks, and the switch for forwarding stays until both are done', () => {
    expect(report.beside).toEqual(['100.115.92.30', 2]);
    expect(report.oneIsGone).toEqual([1, true]);
  });

  test('leave nothing', () => {
    expect(report.left).toEqual({ tables: [], forwarding: false, claims: false, taps: [] });
    expect(report.servers).toEqual([]);
  });

  test('of a runtime that is no more are forgotten by another', () => {
    expect(report.dead).toEqual([false, false]);
  });

  test('are not started where somebody else drops what they send, unless it lets them through', () => {
    expect(report.blocked).toEqual([
      'CROSTINI_ERR_NETWORK',
      expect.stringContaining('iptables -I DOCKER-USER -i rtap+'),
    ]);
  });

  test('are not started where somebody else has all name service, and the error says so', () => {
    const said = expect.stringContaining('for 100.115.92.25: Address already in use');
    expect(report.busy).toEqual(['CROSTINI_ERR_NETWORK', said]);
    // The table is that of somebody else, of the test before.
    expect(report.leftOfBusy).toEqual([1, false, false]);
  });

  test('are looked at by doctor before', () => {
    expect(report.doctor).toMatchObject([
      { status: 'fail', found: expect.stringContaining('FORWARD'), remedy: expect.stringContaining('DOCKER-USER') },
      { status: 'ok', found: expect.stringContaining('passt') },
      { status: 'ok', found: expect.stringContaining('tap') },
    ]);
  });

  test('leave an interface that forwarded as it was', () => {
    expect(report.restored).toEqual([false, '1', '0']);
  });
});
