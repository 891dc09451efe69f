import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { coreErrorTable } from '@runtime/core';
import { parseManifest } from '@runtime/core/loader';
import { describe, expect, test } from 'vitest';
import { crostiniErrorTable } from '../../plugins/crostini/src/errors.ts';
import { sandboxErrorTable } from '../../plugins/sandbox/src/errors.ts';
import { describeRun, RUN_SPEC } from '../../plugins/vmm/src/cli/run-options.ts';
import { parseDescription } from '../../plugins/vmm/src/description/parse.ts';
import { vmmErrorTable } from '../../plugins/vmm/src/errors.ts';
import { MADE, makePages, REFERENCE } from '../../scripts/reference/pages.ts';
import { parseForeign } from '../../sdk/src/cli/parse.ts';
import { sdkErrorTable } from '../../sdk/src/errors.ts';
import { blocksOf, PAGES } from './pages.ts';

const WRITE_AGAIN = 'npm run docs writes it anew';
const tables = { ...coreErrorTable, ...sdkErrorTable, ...crostiniErrorTable, ...sandboxErrorTable, ...vmmErrorTable };

describe('pages that are made from the code', async () => {
  const pages = await makePages();

  test.each([...pages])('%s says what the code says', (name, text) => {
    expect(readFileSync(join(REFERENCE, name), 'utf8'), WRITE_AGAIN).toBe(text);
  });

  test('none is left over', () => {
    const onDisk = readdirSync(REFERENCE).filter((name) =>
      readFileSync(join(REFERENCE, name), 'utf8').startsWith(MADE),
    );
    expect(onDisk.sort()).toEqual([...pages.keys()].sort());
  });

  test('every error has its entry, and every entry its error', () => {
    const page = readFileSync(join(REFERENCE, 'errors.md'), 'utf8');
    const documented = [...page.matchAll(/^### (\w+)$/gm)].map((match) => match[1]);
    expect(documented.sort()).toEqual(Object.keys(tables).sort());
  });
});

test('pages that errors send people to exist', () => {
  const paths = new Set(PAGES.map(({ path }) => path));
  const mentioned = Object.entries(tables).flatMap(([code, { message, remedy }]) =>
    [...`${message} ${remedy}`.matchAll(/docs\/[\w./-]+\.md/g)].map((match) => ({ code, page: match[0] })),
  );
  expect(mentioned.length).toBeGreaterThan(0);
  expect(mentioned.filter(({ page }) => !paths.has(page))).toEqual([]);
});

test('the manifest that is shown is one, with every key there is', () => {
  const page = PAGES.find(({ path }) => path === 'docs/reference/manifest.md');
  const [example] = page === undefined ? [] : blocksOf(page).filter(({ language }) => language === 'json');
  const { manifest, source, compiled } = parseManifest(example?.code ?? '', 'the example');
  expect(source).toBe('./src/index.ts');
  expect(compiled).toBe('./dist/index.js');
  expect(manifest).toMatchObject({ plugin: 'metrics', core: '^0.1.0', provides: { metrics: '1.2.0' } });
  expect(manifest.requires['clock-source']).toEqual({ range: '^2.0.0', optional: true });
  expect(manifest.commands).toHaveLength(1);
});

test('the description of a VM that is shown is one, and the options beside it amount to the same', () => {
  const page = PAGES.find(({ path }) => path === 'docs/reference/vm.md');
  const blocks = page === undefined ? [] : blocksOf(page);
  const codeIn = (language: string) => blocks.find((block) => block.language === language)?.code ?? '';
  const [, words = ''] = / vm run (.+)/.exec(codeIn('sh')) ?? [];
  const globals = { plugins: undefined, config: undefined, name: undefined, logLevel: undefined };
  const parsed = parseForeign(
    RUN_SPEC,
    words.split(' '),
    { ...globals, set: [], isolation: [], format: 'table', debug: false },
    { columns: 100, color: false },
  );
  if (!('call' in parsed)) throw new Error('help was asked for');
  const options = parsed.call.options as Parameters<typeof describeRun>[1];
  expect(describeRun(undefined, options)).toEqual(parseDescription(codeIn('yaml'), 'the example'));
});
