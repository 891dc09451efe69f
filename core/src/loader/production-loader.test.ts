// Runs in a Node of its own: the test runner replaces import().

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const here = import.meta.dirname;
let root: string;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'loader-')));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, content: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

/** Runs the statements with `load(path)` and `write(path, text)` at hand; what they pass to `print` comes back. */
async function run(statements: string): Promise<unknown[]> {
  write(
    'script.mts',
    `import { mkdirSync, writeFileSync } from 'node:fs';
     import { createLoader } from '${join(here, 'production-loader.ts')}';
     import { findPlugin } from '${join(here, 'find.ts')}';
     import * as core from '${join(here, '../plugin.ts')}';
     const places = { cwd: ${JSON.stringify(root)}, runtime: { folders: [], packages: [] }, user: '/nonexistent' };
     const loader = createLoader({ own: { '@runtime/sdk': ${JSON.stringify(pathToFileURL(join(root, 'own/main.mjs')).href)} } });
     const load = async (spec: string) => (await loader.load(findPlugin(spec, places)));
     const write = (path: string, text: string) => writeFileSync(${JSON.stringify(root)} + '/' + path, text);
     const print = (value: unknown) => console.log(JSON.stringify(value) ?? 'null');
     const failure = async (work: Promise<unknown>) => work.then(() => 'no error', (e) => e.code + ': ' + e.message + (e.cause ? ' <- ' + e.cause.message : ''));
     ${statements}`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=@runtime/source',
    '--disable-warning=ExperimentalWarning',
    join(root, 'script.mts'),
  ]);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

const manifest = (name: string, extra: object = {}): string =>
  JSON.stringify({
    name,
    version: '1.2.3',
    type: 'module',
    exports: './index.js',
    runtime: { plugin: name, core: '^0.1.0', source: './index.ts', ...extra },
  });
/** By brand, as any copy of the core would make it. */
const definition = (name: string, fields: string): string =>
  `export default { $$type: 'runtime.plugin/v1', name: '${name}', setup() { return { ${fields} }; } };`;
const setup = `(await load('./p')).definition.setup({} as never)`;

describe('the production loader', () => {
  it('imports the source, and takes version and core range from the manifest', async () => {
    write('p/package.json', manifest('p'));
    write('p/index.ts', `import { n } from './n.ts';\n${definition('p', 'n: n as number')}`);
    write('p/n.ts', 'export const n: number = 7;');
    const [loaded, result] = await run(`const l = await load('./p');
      print({ version: l.definition.version, core: l.definition.core, frozen: Object.isFrozen(l.definition), files: l.files });
      print(l.definition.setup({} as never));`);
    expect(loaded).toEqual({
      version: '1.2.3',
      core: '^0.1.0',
      frozen: true,
      files: [join(root, 'p/index.ts'), join(root, 'p/n.ts')],
    });
    expect(result).toEqual({ n: 7 });
  });

  it('runs code again when a file of it changed, however deep, and only then', async () => {
    write('p/package.json', manifest('p'));
    write(
      'p/index.ts',
      `import { n } from './deep/n.ts';\n${definition('p', 'n, at: performance.now()')}
      const at = (globalThis as any).runs = ((globalThis as any).runs ?? 0) + 1;`,
    );
    write('p/deep/n.ts', 'export const n: number = 1;');
    const results = await run(`
      print([${setup}.n, globalThis.runs]);
      print([${setup}.n, globalThis.runs]);
      write('p/deep/n.ts', 'export const n: number = 1;');
      print([${setup}.n, globalThis.runs]);
      write('p/deep/n.ts', 'export const n: number = 2;');
      print([${setup}.n, globalThis.runs]);
      write('p/deep/n.ts', 'export const n: number = 1;');
      print([${setup}.n, globalThis.runs]);`);
    expect(results).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
      [2, 2],
      [1, 3],
    ]);
  });

  it('recovers from code that does not load, also when only the world around it changed', async () => {
    write('p/package.json', manifest('p'));
    write('p/index.ts', 'export const broken: = 1;');
    const results = await run(`
      print(await failure(load('./p')));
      write('p/index.ts', ${JSON.stringify(`if (!process.env.FINE) throw new Error('not fine');\n${definition('p', 'ok: true')}`)});
      print(await failure(load('./p')));
      process.env.FINE = '1';
      print(${setup});`);
    expect(results[0]).toContain('CORE_ERR_PLUGIN_LOAD');
    expect(results[1]).toMatch(/CORE_ERR_PLUGIN_LOAD.* <- not fine/);
    expect(results[2]).toEqual({ ok: true });
  });

  it('keeps modules of other plugins and of node_modules out of a reload', async () => {
    write('p/package.json', manifest('p'));
    write(
      'p/index.ts',
      `import { dep } from 'dep';\nimport { q } from '../q/contract.ts';\n${definition('p', 'dep, q')}`,
    );
    const counted = (name: string): string =>
      `globalThis.${name} = (globalThis.${name} ?? 0) + 1; export const ${name} = globalThis.${name};`;
    write('p/node_modules/dep/package.json', '{"name":"dep","type":"module","exports":"./i.js"}');
    write('p/node_modules/dep/i.js', counted('dep'));
    write('q/package.json', manifest('q'));
    write('q/index.ts', definition('q', ''));
    write('q/contract.ts', `// @ts-nocheck\n${counted('q')}`);
    const results = await run(`await load('./q'); print(${setup});
      write('p/index.ts', (await import('node:fs')).readFileSync('${root}/p/index.ts', 'utf8') + '\\n// changed');
      print(${setup});`);
    expect(results).toEqual([
      { dep: 1, q: 1 },
      { dep: 1, q: 1 },
    ]);
  });

  it("gives every plugin the runtime's own core and sdk, whatever lies in its node_modules", async () => {
    write('own/main.mjs', '');
    write(
      'own/node_modules/@runtime/sdk/package.json',
      '{"name":"@runtime/sdk","exports":{".":"./i.mjs","./sub":"./sub.mjs"}}',
    );
    write('own/node_modules/@runtime/sdk/i.mjs', 'export const whose = "own";');
    write('own/node_modules/@runtime/sdk/sub.mjs', 'export const whose = "own sub";');
    for (const name of ['sdk', 'core']) {
      write(`p/node_modules/@runtime/${name}/package.json`, `{"name":"@runtime/${name}","exports":"./i.mjs"}`);
      write(
        `p/node_modules/@runtime/${name}/i.mjs`,
        'export const whose = "a second copy"; export const definePlugin = "wrong";',
      );
    }
    write('p/package.json', manifest('p'));
    write(
      'p/index.ts',
      `import { whose } from '@runtime/sdk';\nimport { whose as sub } from '@runtime/sdk/sub';
       import * as core from '@runtime/core/package.json' with { type: 'json' };\n${definition('p', 'whose, sub, core: core.default.description')}`,
    );
    const [result] = await run(`print(${setup})`);
    expect(result).toEqual({ whose: 'own', sub: 'own sub', core: expect.stringContaining('microkernel') });
  });

  it.each([
    ['export const x = 1;', 'it has no default export'],
    ['export default 3;', 'its default export is of type number'],
    ['export default { name: "p" };', 'not made by definePlugin()'],
    ['export default { $$type: "runtime.plugin/v1", name: "P!", setup() {} };', 'its name "P!" is not kebab-case'],
    ['export default { $$type: "runtime.plugin/v1", name: "p" };', 'it has no setup()'],
    ['export default { $$type: "runtime.plugin/v1", name: "p", setup() {}, provides: [{}] };', 'provides[0] is not'],
    [
      'export default { $$type: "runtime.plugin/v1", name: "p", setup() {}, requires: { a: 1 } };',
      'requires.a is neither',
    ],
    [
      'export default { $$type: "runtime.plugin/v1", name: "p", setup() {}, config: {} };',
      '"config" is not a Standard Schema',
    ],
    ['export default { $$type: "runtime.plugin/v1", name: "p", setup() {}, core: "x y" };', 'its core "x y" is not'],
  ])('refuses %j', async (code, why) => {
    write('p/package.json', manifest('p'));
    write('p/index.ts', code);
    const [message] = await run(`print(await failure(load('./p')))`);
    expect(message).toMatch(/^CORE_ERR_PLUGIN_INVALID: /);
    expect(message).toContain(why);
  });

  it('says what to write when manifest and code disagree', async () => {
    const token = (id: string, version: string): string =>
      `{ kind: 'service', id: '${id}', version: '${version}', rebind: 'live' }`;
    write('p/package.json', manifest('p', { provides: { a: '1.0.0', gone: '1.0.0' }, requires: { r: '^1.0.0' } }));
    write(
      'p/index.ts',
      `export default { $$type: 'runtime.plugin/v1', name: 'p', setup() {},
         provides: [${token('a', '1.1.0')}, ${token('b', '2.0.0')}],
         requires: { r: { optional: true, range: '^1.0.0', token: ${token('r', '1.0.0')} } } };`,
    );
    const [error] = await run(
      `const e = await load('./p').catch((e) => e); print({ message: e.message, remedy: e.remedy })`,
    );
    const { message, remedy } = error as { message: string; remedy: string };
    expect(message).toContain('provides a 1.1.0, the manifest says 1.0.0');
    expect(message).toContain('the code provides b 2.0.0, the manifest does not');
    expect(message).toContain('the manifest provides gone 1.0.0, the code does not');
    expect(message).toContain('requires r ^1.0.0 (optional), the manifest says ^1.0.0');
    expect(JSON.parse(remedy.slice(remedy.indexOf('{')))).toEqual({
      plugin: 'p',
      core: '^0.1.0',
      provides: { a: '1.1.0', b: '2.0.0' },
      requires: { r: { range: '^1.0.0', optional: true } },
    });
  });

  it('explains why TypeScript in node_modules does not load', async () => {
    write('node_modules/p/package.json', manifest('p').replace('./index.js', './index.ts'));
    write('node_modules/p/index.ts', definition('p', ''));
    const [message] = await run(`print(await failure(load('p')))`);
    expect(message).toContain('Node does not run TypeScript inside node_modules');
  });
});
