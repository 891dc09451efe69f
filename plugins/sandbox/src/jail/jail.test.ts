// Jails from minijail0's flags, as they are read and as a process in one finds them.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestRuntime } from '@runtime/sdk/testing';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import sandbox from '../index.ts';
import { planFromMinijail } from './from-minijail.ts';
import { parsePlan } from './plan.ts';
import { planDifferences } from './show.ts';

const isRoot = process.getuid?.() === 0;
const hasBubblewrap = ['/usr/bin/bwrap', '/usr/local/bin/bwrap'].some((path) => existsSync(path));
const lacking = [...(isRoot ? [] : ['root']), ...(hasBubblewrap ? [] : ['bubblewrap (apt-get install bubblewrap)'])];
if (lacking.length > 0) console.log(`skipped in part: jails need ${lacking.join(' and ')}`);

const planOf = (flags: string) => planFromMinijail(flags.split(' '), '/').plan;

describe('flags of minijail0', () => {
  test('are a plan', () => {
    const plan = planOf('-v -p -l -N -e -n -c 0x20 --ambient -u 1000 -g 100 --uts=inside -- /bin/true');
    expect(plan.namespaces).toMatchObject({
      mount: 'new',
      pid: 'new',
      ipc: 'new',
      net: 'new',
      cgroup: 'new',
      uts: 'new',
    });
    expect(plan).toMatchObject({ uid: 1000, gid: 100, noNewPrivileges: true, hostname: 'inside' });
    expect(plan.capabilities).toEqual(['cap_kill']);
    expect(planFromMinijail(['-p', '--', '/bin/echo', '-n'], '/').program).toEqual(['/bin/echo', '-n']);
  });

  test.each(['--no-such-flag', '-Z', '-u', '-c zz', '-b relative,/x', '-R 99,1,1'])('%s is refused', (flags) => {
    expect(() => planOf(flags)).toThrow(expect.objectContaining({ code: expect.stringMatching(/^SANDBOX_ERR_/) }));
  });

  test('whatever they are, they are a plan or an error with a code', () => {
    const word = fc.oneof(
      fc.constantFrom('-v', '-p', '-u', '-g', '-c', '-b', '-k', '-R', '-S', '--', '--mount', '0', '1000', '/a,/b', '-'),
      fc.string({ maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), (flags) => {
        try {
          const { plan } = planFromMinijail(flags, '/');
          expect(parsePlan(JSON.parse(JSON.stringify(plan)), 'again')).toEqual(plan);
        } catch (e) {
          expect(e).toMatchObject({ code: expect.stringMatching(/^SANDBOX_ERR_/) });
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('two of them are compared by what they guarantee', () => {
    expect(planDifferences(planOf('-v -p'), planOf('-p -v'))).toEqual([]);
    expect(planDifferences(planOf('-v'), planOf('-v -e')).length).toBeGreaterThan(0);
  });
});

describe.skipIf(lacking.length > 0)('a program in a jail', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'jail-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  async function inside(flags: string, script: string): Promise<{ readonly out: string; readonly code: number }> {
    await using runtime = await createTestRuntime({ plugins: [sandbox] });
    const args = [...flags.split(' ').filter((word) => word !== ''), '--', '/bin/sh', '-c', script];
    const { bytes, code } = await runtime.run('sandbox run', { args, cwd: folder });
    return { out: Buffer.from(bytes).toString().trim(), code };
  }

  test.each([
    ['', 'exit 7', '', 7],
    ['-p -v', 'ls /proc | grep -c "^[0-9]*$"', /^[2-5]$/, 0],
    ['-n', 'grep NoNewPrivs /proc/self/status', /1$/, 0],
    ['-u 1234 -g 2345', 'id -u; id -g; id -G', /^1234\n2345\n2345$/, 0],
    ['-c 0', 'grep CapEff /proc/self/status', /0{16}$/, 0],
    ['-e', 'tail -n +3 /proc/net/dev | cut -d: -f1', /^ *lo$/, 0],
    ['--uts=inside', 'uname -n', 'inside', 0],
    ['-R 7,64,64', 'ulimit -n', '64', 0],
  ])('minijail0 %s: %s', async (flags, script, out, code) => {
    const result = await inside(flags, script);
    expect(result.code).toBe(code);
    if (typeof out === 'string') expect(result.out).toBe(out);
    else expect(result.out).toMatch(out);
  });

  test('a system call that its policy does not have ends it', async () => {
    const policy = join(folder, 'one.policy');
    writeFileSync(policy, 'exit_group: 1\n');
    const { code } = await inside(`-n -S ${policy}`, 'true');
    expect([253, 159]).toContain(code);
    expect(readFileSync(policy, 'utf8')).toContain('exit_group');
  });
});
