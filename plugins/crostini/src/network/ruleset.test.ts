import { execFileSync, spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { dnsmasqArguments } from './dnsmasq.ts';
import { runtimeId, TAP_NAME, tapName } from './names.ts';
import { parseDropping } from './nft.ts';
import { programPath, tapLack } from './programs.ts';
import { blockedBy } from './requirements.ts';
import { removalText, rulesetText } from './ruleset.ts';

const FIRST = 0x6473_5c18;
const runtime = '0123abcd';

test('the rules of two VMs', async () => {
  await expect(rulesetText({ runtime, subnets: [FIRST, FIRST + 4], onlyVms: true })).toMatchFileSnapshot(
    'test-data/two-vms.nft',
  );
});

test('forwarding of others is left alone where there was some', () => {
  const text = (onlyVms: boolean) => rulesetText({ runtime, subnets: [FIRST], onlyVms });
  const more = text(true)
    .split('\n')
    .filter((line) => !text(false).includes(line));
  expect(more).toEqual(['    meta nfproto ipv4 iifname != "rtap*" oifname != "rtap*" drop']);
});

test('names of interfaces tell runtimes and networks apart, and are no longer than they may be', () => {
  const ids = ['', '/state/a', '/state/b'].map(runtimeId);
  const names = ids.flatMap((id) => Array.from({ length: 10 }, (_, i) => tapName(id, FIRST + 4 * i)));
  expect(new Set(names).size).toBe(30);
  for (const name of names) {
    expect(name).toMatch(TAP_NAME);
    expect(name.length).toBeLessThanOrEqual(15);
  }
});

const namespace = programPath('nft') !== undefined && spawnSync('unshare', ['--net', 'true']).status === 0;
if (!namespace) process.stdout.write('nft cannot be run in a network namespace here: its rules are not tried\n');

test.skipIf(!namespace)('nft takes the rules, once and again, and their removal', () => {
  const nft = programPath('nft') ?? '';
  const rules = (count: number) =>
    rulesetText({ runtime, subnets: Array.from({ length: count }, (_, i) => FIRST + 4 * i), onlyVms: count > 1 });
  const texts = [removalText(runtime), rules(1), rules(10), rules(0), removalText(runtime)];
  const script = `for text in "$@"; do printf %s "$text" | ${nft} -f - || exit 1; done; ${nft} list ruleset`;
  expect(execFileSync('unshare', ['--net', 'sh', '-c', script, 'sh', ...texts]).toString()).toBe('');
});

test('a name server listens at one address, and as nobody', () => {
  const [, ...args] = dnsmasqArguments('/usr/sbin/dnsmasq', '100.115.92.25');
  expect(args.filter((arg) => /listen|interface|user/.test(arg))).toEqual([
    '--user=nobody',
    '--bind-interfaces',
    '--listen-address=100.115.92.25',
  ]);
});

test('chains that drop are found in what nft prints', () => {
  const chain = (fields: object) => ({ chain: { family: 'ip', table: 'filter', handle: 1, ...fields } });
  const forward = { name: 'FORWARD', hook: 'forward', policy: 'drop', prio: 0, type: 'filter' };
  const list = [
    { metainfo: { version: '1.0.6' } },
    chain({ name: 'DOCKER-USER' }),
    chain(forward),
    chain({ ...forward, family: 'ip6' }),
    chain({ ...forward, family: 'inet', table: 'mine', policy: 'accept' }),
    chain({ ...forward, family: 'inet', table: 'walls', name: 'in', hook: 'input' }),
  ];
  const [docker, walls, ...others] = parseDropping(JSON.stringify({ nftables: list }));
  expect(others).toEqual([]);
  expect(docker).toMatchObject({ chain: 'FORWARD', additions: 'DOCKER-USER' });
  expect(docker && blockedBy(docker).hint).toContain('iptables -I DOCKER-USER -o rtap+ -j ACCEPT');
  expect(walls && blockedBy(walls)).toEqual({
    why: 'the chain in of the table inet walls drops what comes in, and has no rule for VMs',
    hint: `Let them through: nft insert rule inet walls in iifname '"rtap*"' accept. Or use passt: settings.crostini.config.network: passt`,
  });
  for (const wrong of ['', '{}', '[]', '{"nftables": [{"chain": {"policy": "drop"}}]}']) {
    expect(() => parseDropping(wrong)).toThrow('no list of chains');
  }
});

test('what is missing is said with its package', () => {
  const { why, hint } = tapLack('/nowhere') ?? {};
  if (programPath('dnsmasq', '/nowhere') !== undefined) return;
  expect([why, hint]).toEqual([expect.stringContaining('dnsmasq'), expect.stringContaining('apt-get install')]);
});
