// Runs in a Node of its own: the test runner replaces import().

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const here = import.meta.dirname;
let root: string;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'dev-loader-')));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, content: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

/** Runs the statements with `load`, `write` and more at hand; what they pass to `print` comes back. */
async function run(statements: string, options = ''): Promise<unknown[]> {
  write(
    'script.mts',
    `import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
     import { isDeepStrictEqual } from 'node:util';
     import { setTimeout as sleep } from 'node:timers/promises';
     import * as core from '${join(here, '../../../core/src/index.ts')}';
     import { findPlugin } from '${join(here, '../../../core/src/loader/index.ts')}';
     import { createDevLoader } from '${join(here, 'dev-loader.ts')}';
     process.chdir(${JSON.stringify(root)});
     const places = { cwd: process.cwd(), runtime: { folders: [], packages: [] }, user: '/nonexistent' };
     const loader = createDevLoader({ ${options} });
     const load = (spec: string) => loader.load(findPlugin(spec, places));
     const write = (path: string, text: string) => writeFileSync(path, text);
     const print = (value: unknown) => console.log(JSON.stringify(value) ?? 'null');
     const failure = async (work: Promise<unknown>) =>
       work.then(() => 'no error', (e) => e.code + ': ' + e.message + (e.cause ? ' <- ' + e.cause.message + '\\n' + e.cause.stack : ''));
     ${statements}
     await loader[Symbol.asyncDispose]();`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=@runtime/source',
    '--expose-gc',
    '--disable-warning=ExperimentalWarning',
    join(root, 'script.mts'),
  ]);
  const lines = stdout.trim().split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as unknown);
}

function plugin(name: string, source: string, folder: string = name): void {
  const runtime = { plugin: name, core: '^0.1.0', source: './src/index.ts' };
  write(`${folder}/package.json`, JSON.stringify({ name, version: '1.2.3', type: 'module', runtime }));
  write(`${folder}/src/index.ts`, source);
}

const definition = (name: string, setup: string): string =>
  `import { definePlugin } from '@runtime/core';
   export default definePlugin({ name: '${name}', setup(): any { ${setup} } });\n`;

describe('loading', () => {
  test('a plugin of TypeScript sources gets the core of the runtime, also where its node_modules hold another', async () => {
    const wrong = { name: '@runtime/core', version: '0.0.1', type: 'module', exports: './index.js' };
    write('p/node_modules/@runtime/core/package.json', JSON.stringify(wrong));
    write(
      'p/node_modules/@runtime/core/index.js',
      `export const definePlugin = 'wrong'; export const Scope = 'wrong';`,
    );
    const library = { name: 'library', version: '1.0.0', type: 'module', exports: './index.js' };
    write('p/node_modules/library/package.json', JSON.stringify(library));
    write('p/node_modules/library/index.js', `export { Scope } from '@runtime/core';`);
    plugin(
      'p',
      `import { Scope as fromLibrary } from 'library';
       import { definePlugin, Scope } from '@runtime/core';
       import { Scope as fromSdk } from '@runtime/sdk';
       enum Letter { A, B }
       const computed: string = '@runtime/core';
       export default definePlugin({
         name: 'p',
         async setup(): Promise<any> {
           const dynamic = (await import(computed)) as any;
           return { scopes: [Scope, fromSdk, fromLibrary, dynamic.Scope], b: Letter.B };
         },
       });`,
    );
    const [scopes, b, version] = await run(
      `const { definition } = await load('./p');
       const result = await (definition as any).setup();
       print(result.scopes.map((s: unknown) => s === core.Scope));
       print(result.b);
       print(definition.version);`,
    );
    expect(scopes).toEqual([true, true, true, true]);
    expect(b).toBe(1);
    expect(version).toBe('1.2.3');
  });

  test('after a change only the changed modules and their importers run again', async () => {
    plugin('p', `import './a.ts'; import './b.ts'; globalThis.ran.push('index');${definition('p', '')}`);
    write('p/src/a.ts', `import './shared.ts'; globalThis.ran.push('a');`);
    write('p/src/b.ts', `globalThis.ran.push('b');`);
    write('p/src/shared.ts', `globalThis.ran.push('shared');`);
    const printed = await run(
      `const ran: string[] = (globalThis as any).ran = [];
       const first = await load('./p');
       print(ran.splice(0));
       print((await load('./p')).definition.setup === first.definition.setup);
       print(ran.splice(0));
       write('p/src/a.ts', "import './shared.ts'; globalThis.ran.push('a2');");
       print((await load('./p')).definition.setup === first.definition.setup);
       print(ran.splice(0));
       print(first.files.map((file) => file.replace(process.cwd(), '')).sort());`,
    );
    expect(printed).toEqual([
      ['shared', 'a', 'b', 'index'],
      true,
      [],
      false,
      ['a2', 'index'],
      ['/p/package.json', '/p/src/a.ts', '/p/src/b.ts', '/p/src/index.ts', '/p/src/shared.ts'],
    ]);
  });

  test('the manifest is read again, and must agree with the code', async () => {
    plugin('p', definition('p', ''));
    const [version, drift] = await run(
      `const found = findPlugin('./p', places);
       await loader.load(found);
       const runtime = { plugin: 'p', core: '^0.1.0', source: './src/index.ts' };
       write('p/package.json', JSON.stringify({ name: 'p', version: '1.3.0', type: 'module', runtime }));
       print((await loader.load(found)).definition.version);
       write('p/package.json', JSON.stringify({ name: 'p', version: '1.3.0', type: 'module', runtime: { ...runtime, provides: { greeter: '1.0.0' } } }));
       print(await failure(loader.load(found)));`,
    );
    expect(version).toBe('1.3.0');
    expect(drift).toMatch(/^CORE_ERR_MANIFEST_DRIFT: .*the manifest provides greeter 1.0.0, the code does not/);
  });

  test('a plugin in node_modules is loaded as in production', async () => {
    const manifest = { plugin: 'p', core: '^0.1.0' };
    const json = { name: 'p', version: '1.0.0', type: 'module', exports: './index.js', runtime: manifest };
    write('node_modules/p/package.json', JSON.stringify(json));
    write(
      'node_modules/p/index.js',
      `import { definePlugin, Scope } from '@runtime/core';
       export default definePlugin({ name: 'p', setup: () => Scope });`,
    );
    const [same] = await run(`print(((await load('p')).definition as any).setup() === core.Scope);`);
    expect(same).toBe(true);
  });
});

describe('failures', () => {
  const broken: readonly [what: string, helper: string, expected: RegExp][] = [
    [
      'a syntax error',
      `export const helper = 1;\n  const x = ;\n`,
      /helper\.ts:2:13: Unexpected token\n.*> 2 \|\s+const x = ;/s,
    ],
    [
      'a missing module',
      `\nimport './nope.ts';\nexport const helper = 1;`,
      /helper\.ts:2:9: cannot find "\.\/nope\.ts"/,
    ],
    [
      'a missing package',
      `import x from 'no-such-package';\nexport const helper = x;`,
      /helper\.ts:1:16: cannot find "no-such-package"/,
    ],
    [
      'a name that is not exported',
      `export const help = 1;`,
      /index\.ts:1:10: "\.\/helper\.ts" does not export "helper"/,
    ],
    [
      'a name that Node does not have',
      `import { nope } from 'node:fs';\nexport const helper = nope;`,
      /helper\.ts:1:10: .*nope/,
    ],
    ['a throw', `export const helper = 1;\nthrow new Error('not today');`, /<- not today/],
    ['a promise that does not settle', `export const helper = 1;\nawait new Promise(() => {});`, /within 200 ms/],
  ];

  test.each(broken)('%s is told, and mended by the next change', async (_, helper, expected) => {
    plugin('p', `import { helper } from './helper.ts';\n${definition('p', 'return helper;')}`);
    write('p/src/helper.ts', helper);
    const [first, second, mended] = await run(
      `print(await failure(load('./p')));
       print(await failure(load('./p')));
       write('p/src/helper.ts', 'export const helper = 7;');
       write('p/src/nope.ts', '');
       print(((await load('./p')).definition as any).setup());`,
      'importMs: 200',
    );
    expect(first).toMatch(/^CORE_ERR_PLUGIN_LOAD: the code of plugin "p"/);
    expect(first).toMatch(expected);
    expect(second).toBe(first);
    expect(mended).toBe(7);
  });

  test('the stack of an error leads to the line of the source', async () => {
    plugin(
      'p',
      `interface Much { gone: number }\n\n\n${definition('p', `\n const thrown: Error = new Error('x');\n throw thrown;`)}`,
    );
    const [stack] = await run(
      `const { definition } = await load('./p');
       try { (definition as any).setup(); } catch (e) { print((e as Error).stack); }`,
    );
    expect(stack).toContain(`${root}/p/src/index.ts:6:24`);
  });

  test('without the package "vite" it says what to install', async () => {
    plugin('p', definition('p', ''));
    const [message] = await run(
      `const { registerHooks } = await import('node:module');
       registerHooks({ resolve(s, c, next) { if (/^vite/.test(s)) throw new Error('no ' + s); return next(s, c); } });
       print(await failure(load('./p')));`,
    );
    expect(message).toMatch(/^SDK_ERR_VITE_MISSING: .* <- no vite/);
  });
});

describe('watching', () => {
  /** `changes(n)` waits for the nth report. `quiet()` gives what came while a change of another plugin was awaited. */
  const watching = `
    const seen: string[] = [];
    using _watch = loader.watch((found, files) => {
      seen.push(found.manifest.plugin + ' ' + files.map((file) => file.replace(process.cwd() + '/', '')).join(' '));
    });
    const seenNow = async (count: number) => { while (seen.length < count) await sleep(5); return seen.splice(0); };
    /** What was seen until a change that is certain to be seen. */
    const until = async (marker: string) => { write('marker/src/index.ts', marker); while (!seen.some((s) => s.startsWith('marker'))) await sleep(5); return seen.splice(0).filter((s) => !s.startsWith('marker')); };`;

  beforeEach(() => plugin('marker', definition('marker', '')));

  test('a change is told once, to the plugins that import the file, and not when the content stays', async () => {
    plugin(
      'p',
      `import { n } from './n.ts'; import { both } from '../../shared/both.ts';${definition('p', 'return n + both;')}`,
    );
    write('p/src/n.ts', 'export const n = 1;');
    write('p/src/unused.ts', '');
    plugin('q', `import { both } from '../../shared/both.ts';${definition('q', 'return both;')}`);
    write('shared/both.ts', 'export const both = 1;');
    const printed = await run(
      `await load('./marker');
       await load('./p');
       await load('./q');
       ${watching}
       // As editors do: in place, twice, of the same length.
       write('p/src/n.ts', ''); write('p/src/n.ts', 'export const n = 2;');
       print(await seenNow(1));
       print((((await load('./p')).definition) as any).setup());
       // To a new file, moved into its place.
       write('p/src/.n.ts.tmp', 'export const n = 3;'); renameSync('p/src/.n.ts.tmp', 'p/src/n.ts');
       print(await seenNow(1));
       print((((await load('./p')).definition) as any).setup());
       write('p/src/n.ts', 'export const n = 3;');
       write('p/src/unused.ts', '// changed');
       print(await until('// 1'));
       write('shared/both.ts', 'export const both = 2;');
       print((await seenNow(2)).sort());
       rmSync('p/src/n.ts');
       print(await seenNow(1));
       print(await failure(load('./p')));
       write('p/src/n.ts', 'export const n = 4;');
       print(await seenNow(1));
       print((((await load('./p')).definition) as any).setup());
       print((((await load('./q')).definition) as any).setup());`,
    );
    expect(printed).toEqual([
      ['p p/src/n.ts'],
      3,
      ['p p/src/n.ts'],
      4,
      [],
      ['p shared/both.ts', 'q shared/both.ts'],
      ['p p/src/n.ts'],
      expect.stringMatching(/index\.ts:1:20: cannot find "\.\/n\.ts"/),
      ['p p/src/n.ts'],
      6,
      2,
    ]);
  });

  test('a file in a new folder that a failed import looked for is seen, as is a change of the manifest', async () => {
    plugin('p', definition('p', ''));
    const printed = await run(
      `await load('./marker');
       await load('./p');
       ${watching}
       write('p/src/index.ts', "import { deep } from './new/deep/deep.ts';" + ${JSON.stringify(definition('p', 'return deep;'))});
       print(await seenNow(1));
       print(await failure(load('./p')));
       mkdirSync('p/src/new/deep', { recursive: true });
       write('p/src/new/deep/deep.ts', 'export const deep = 5;');
       print(await seenNow(1));
       print((((await load('./p')).definition) as any).setup());
       rmSync('p/src/new', { recursive: true });
       mkdirSync('p/src/new/deep', { recursive: true });
       write('p/src/new/deep/deep.ts', 'export const deep = 6;');
       await until('// the folder was replaced');
       print((((await load('./p')).definition) as any).setup());
       await until('// and all was told');
       write('p/src/new/deep/deep.ts', 'export const deep = 7;');
       print(await seenNow(1));
       const runtime = { plugin: 'p', core: '^0.1.1', source: './src/index.ts' };
       write('p/package.json', JSON.stringify({ name: 'p', version: '1.2.3', type: 'module', runtime }));
       print(await seenNow(1));`,
    );
    expect(printed).toEqual([
      ['p p/src/index.ts'],
      expect.stringMatching(/cannot find "\.\/new\/deep\/deep\.ts"/),
      ['p p/src/new/deep/deep.ts'],
      5,
      6,
      ['p p/src/new/deep/deep.ts'],
      ['p p/package.json'],
    ]);
  });
});

test('in a runtime a change swaps the plugin, and broken code leaves the old one serving', async () => {
  const counter = (extra: string): string =>
    `import { definePlugin, defineState } from '@runtime/core';
     export default definePlugin({
       name: 'p',
       state: defineState<number>({ schema: 1 }),
       setup(ctx) {
         const count = Number(ctx.previous?.state ?? 0) + 1;
         ${extra}
         return { snapshot: () => count };
       },
     });\n`;
  plugin('p', counter(''));
  const sources = [
    counter('// changed'),
    counter('const x = ;'),
    counter(`\nthrow new Error('no ' + count);`),
    counter(''),
  ];
  const printed = await run(
    `await using runtime = core.createRuntime({ loader, log: core.createLogger({ level: 'silent' }) });
     runtime.use(findPlugin('./p', places));
     await runtime.start();
     const told: string[] = [];
     using _watch = loader.watch(async ({ manifest }) => {
       const { outcome, error } = await runtime.reload(manifest.plugin);
       told.push(outcome + ' ' + (((error as Error)?.cause as Error)?.stack ?? ''));
     });
     for (const source of ${JSON.stringify(sources)}) {
       write('p/src/index.ts', source);
       while (told.length === 0) await sleep(5);
       print(told.shift());
     }`,
  );
  expect(printed).toEqual([
    'swapped ',
    expect.stringMatching(/^kept-old .*> 7 \| {10}const x = ;\n {4}\| {20}\^.*index\.ts:7:20: Unexpected token/s),
    expect.stringMatching(/^rolled-back Error: no 3\n.*index\.ts:8:7/s),
    'swapped ',
  ]);
});

test('300 reloads of a module of 1 MB leave nothing behind', { timeout: 300_000 }, async () => {
  plugin('p', `import { size } from './big.ts';${definition('p', 'return size;')}`);
  const functions = 200;
  // One word: the time goes into the source map, which has an entry for each.
  const filler = 'x'.repeat(5_000);
  const [size, growth] = await run(
    `const big = Array.from({ length: ${functions} }, (_, i) => \`export function f\${i}(): string { return '\${i} ${filler}'; }\`).join('\\n');
     const reload = async (i: number) => {
       write('p/src/big.ts', big + '\\nexport const size = ' + i + ';');
       if (((await load('./p')).definition as any).setup() !== i) throw new Error('the old code answered');
     };
     const heapMb = () => { gc!(); return process.memoryUsage().heapUsed / 1e6; };
     for (let i = 0; i < 20; i++) await reload(i);
     const before = heapMb();
     for (let i = 0; i < 300; i++) await reload(i);
     print(big.length / 1e6);
     print(heapMb() - before);`,
  );
  expect(size).toBeGreaterThan(1);
  expect(growth).toBeLessThan(5);
});
