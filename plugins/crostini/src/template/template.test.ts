import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRuntimeError } from '@runtime/sdk/errors';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { templateJsonSchema } from './json-schema.ts';
import { MAX_TEMPLATE, parseTemplate, readTemplate } from './parse.ts';
import { expectFreePorts, parsePort } from './ports.ts';
import { expectDisk } from './provision.ts';
import { templateRequest } from './start-from-template.ts';

const EXAMPLE = new URL('../../../../examples/web-server.vm.yaml', import.meta.url).pathname;

/** What is said of it, each mistake on a line of its own. */
function problems(text: string): string {
  try {
    parseTemplate(text, 't.yaml');
  } catch (e) {
    if (isRuntimeError(e, 'CROSTINI_ERR_TEMPLATE')) return e.message;
    if (isRuntimeError(e, 'CROSTINI_ERR_TEMPLATE_MANY'))
      return (e.cause as AggregateError).errors.map((one: Error) => one.message).join('\n');
    throw e;
  }
  return 'none';
}

test('the example becomes a request', () => {
  const template = readTemplate(EXAMPLE);
  expect(templateRequest(template)).toEqual({
    ...{ profile: 'full', cpus: 2, memoryMib: 1024, diskBytes: 4 * 2 ** 30, kernelParams: ['loglevel=4'] },
    ports: [{ protocol: 'tcp', address: '127.0.0.1', hostPort: 8080, guestPort: 80 }],
  });
  expect(template.users).toEqual([{ name: 'web', uid: 1001, groups: ['staff'] }]);
  expect(template.scripts?.map(({ when }) => when)).toEqual(['once', undefined]);
  expect(templateRequest(parseTemplate('', 't'))).toEqual({});
  expect(templateRequest(undefined)).toEqual({});
});

test.each([
  ['cpus: 2', 't.yaml:1:1: unknown key "cpus"'],
  ['resources:\n  cpu: 2', 't.yaml:2:3: unknown key "cpu"; did you mean "cpus"?'],
  ['resources:\n  cpus: 0', 't.yaml:2:9: resources.cpus: '],
  ['resources: { mem: 1T }', 't.yaml:1:19: resources.mem: '],
  ['resources: { mem: 64M }', 't.yaml:1:19: resources.mem: must be 128 MiB'],
  ['resources: { disk: 1.5G }', 't.yaml:1:20: resources.disk: must be bytes'],
  ['packages: [vim]', 't.yaml:1:1: packages: packages belong to a container'],
  ['users: []\nmounts: [/home]', 't.yaml:2:1: mounts: folders cannot be shared'],
  ['params: ["a b"]', 't.yaml:1:10: params[0]: must be one word'],
  ['users: [{ name: Ada, uid: 1001 }]', 't.yaml:1:17: users[0].name: must be 1 to 31'],
  ['users: [{ name: ada }]', 't.yaml:1:9: users[0].uid: '],
  ['users: [{ name: a, uid: 1001 }, { name: a, uid: 1001 }]', 'users[1].uid: 1001 is given twice'],
  ['scripts:\n  - run: "a\\0b"', 't.yaml:2:10: scripts[0].run: must have no NUL'],
  ['scripts: [{ run: a, when: never }]', 't.yaml:1:27: scripts[0].when: '],
  ['scripts: [{ run: a, shel: x }]', 't.yaml:1:21: unknown key "shel"'],
  ['ports: ["80:80:80:80"]', 't.yaml:1:9: ports[0]: must be [ADDRESS:]PORT'],
  ['ports: [8080, "127.0.0.1:8080:81/tcp"]', 'ports[1]: 127.0.0.1:8080/tcp is given twice'],
  ['profile: full\nprofile: fast', 't.yaml:2:1: Map keys must be unique'],
  ['users: &a []\nscripts: *a', 't.yaml:1:'],
  ['users: *a', 'aliases are not allowed'],
  ['params: !!set {a}', 't.yaml:1:'],
  ['? [a]\n: b', 'a key has to be a word'],
  ['1: b', 'a key has to be a word'],
  ['__proto__: { profile: fast }', 'unknown key "__proto__"'],
  ['- 1', 't.yaml:1:1: '],
  ['profile: full\n---\nprofile: fast', 't.yaml:2:'],
  ['a: [', 't.yaml:1:'],
  ['['.repeat(100_000), 't.yaml:1:'],
  [`params: ${'x'.repeat(MAX_TEMPLATE)}`, 'it has more than 262144 bytes'],
])('refuses %.60j', (text, expected) => {
  expect(problems(text)).toContain(expected);
});

test('all mistakes are told, from top to bottom', () => {
  const found = problems('profil: full\nmounts: []\nresources:\n  cpus: 99\n').split('\n');
  expect(found.map((line) => line.split(' ')[0])).toEqual(['t.yaml:1:1:', 't.yaml:2:1:', 't.yaml:4:9:']);
});

test('what is no file is refused without waiting for it', () => {
  expect(() => readTemplate('/nowhere/t.yaml')).toThrow('there is no such file');
  expect(() => readTemplate('/dev/null')).toThrow('it is no file');
  expect(() => readTemplate('/')).toThrow('it is no file');
  const folder = mkdtempSync(join(tmpdir(), 'template-'));
  try {
    const file = join(folder, 'large.yaml');
    writeFileSync(file, '#'.repeat(MAX_TEMPLATE + 1));
    expect(() => readTemplate(file)).toThrow('more than 262144 bytes');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('whatever becomes of the example, it is a template or is refused with a place in it', () => {
  const text = readFileSync(EXAMPLE, 'utf8');
  const edit = fc.record({
    at: fc.nat(text.length),
    remove: fc.nat(12),
    insert: fc.oneof(
      fc.string({ maxLength: 8, unit: 'binary' }),
      fc.constantFrom(
        '&a ',
        '*a',
        '!!binary ',
        '\n',
        '  ',
        '{',
        '[',
        '- ',
        ': ',
        '"',
        '|',
        '<<: ',
        '? ',
        '---\n',
        '\t',
        '\0',
      ),
    ),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 6 }), (edits) => {
      const mutated = edits.reduce((now, { at, remove, insert }) => {
        return now.slice(0, at) + insert + now.slice(at + remove);
      }, text);
      const found = problems(mutated);
      if (found !== 'none') expect(found).toMatch(/^t\.yaml:[1-9]\d*:[1-9]\d*: ./u);
    }),
    { numRuns: 500 },
  );
});

test('ports are of this computer alone unless they are meant for others, too', () => {
  const led = { protocol: 'tcp', address: '127.0.0.1', hostPort: 8080, guestPort: 80 };
  expect(parsePort('8080:80')).toEqual(led);
  expect(parsePort(8080)).toEqual({ ...led, guestPort: 8080 });
  expect(parsePort('0.0.0.0:8080:80/udp')).toEqual({ ...led, address: '0.0.0.0', protocol: 'udp' });
  for (const wrong of ['', '0', '70000', '1:0', '1.2.3:1', '999.1.1.1:80', '80/sctp', '-1', '1:2:3', 'a:1', '80,443'])
    expect(parsePort(wrong), wrong).toBeUndefined();
});

test('a port that another program has is told before anything is started', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { readonly port: number };
  const led = { protocol: 'tcp', address: '127.0.0.1', hostPort: port, guestPort: 80 } as const;
  await expect(expectFreePorts('a', [led])).rejects.toMatchObject({
    code: 'CROSTINI_ERR_PORT_TAKEN',
    message: expect.stringContaining('another program has it'),
  });
  await new Promise((resolve) => server.close(resolve));
  await expectFreePorts('a', [led, { ...led, protocol: 'udp' }]);
  await expect(expectFreePorts('a', [{ ...led, address: '192.0.2.1', protocol: 'udp' }])).rejects.toThrow(
    'this computer has no such address',
  );
});

test('once is for a VM that keeps something', () => {
  const scripts = [{ run: 'a' }, { run: 'b', when: 'once' as const }];
  expectDisk(scripts, 'full');
  expectDisk(scripts.slice(0, 1), 'fast');
  expect(() => expectDisk(scripts, 'fast')).toThrow('script "2"');
});

test('the published JSON schema is that of the code', () => {
  const file = new URL('../../../../docs/reference/template-schema.json', import.meta.url);
  expect(JSON.parse(readFileSync(file, 'utf8')), 'npm run docs writes it anew').toEqual(templateJsonSchema());
});
