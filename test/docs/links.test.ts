import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { blocksOf, PAGES, proseOf, ROOT } from './pages.ts';

interface Link {
  readonly page: string;
  readonly target: string;
}

const links: readonly Link[] = PAGES.flatMap((page) =>
  [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => ({ page: page.path, target: match[1] ?? '' })),
);
const inside = links.filter(({ target }) => !/^[a-z]+:/.test(target));

/** As GitHub makes them. */
function anchorsOf(text: string): ReadonlySet<string> {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map((match) => match[1] ?? '');
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  );
}

test('links lead to files that exist, inside the repository', () => {
  expect(inside.length).toBeGreaterThan(10);
  const broken = inside.filter(({ page, target }) => {
    const path = resolve(ROOT, dirname(page), target.replace(/#.*$/, '') || `./${page.split('/').at(-1)}`);
    return relative(ROOT, path).startsWith('..') || !existsSync(path);
  });
  expect(broken).toEqual([]);
});

test('links to a heading lead to one', () => {
  const broken = inside.filter(({ page, target }) => {
    const [path = '', anchor] = target.split('#');
    if (anchor === undefined) return false;
    const file = path === '' ? join(ROOT, page) : resolve(ROOT, dirname(page), path);
    return !file.endsWith('.md') || !anchorsOf(readFileSync(file, 'utf8')).has(anchor);
  });
  expect(broken).toEqual([]);
});

function scriptsIn(folder: string): readonly string[] {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as { scripts: object };
  return Object.keys(scripts);
}

/** Of packages that the pages tell how to make. */
const MADE: Readonly<Record<string, string>> = {
  'docs/guides/write-a-plugin.md': 'sdk/src/scaffold/template',
  'docs/guides/write-a-device.md': 'sdk/src/scaffold/template-device',
};

test('npm scripts that are named exist', () => {
  const named = PAGES.filter(({ path }) => path === 'README.md' || path.startsWith('docs/')).flatMap((page) =>
    [...page.text.matchAll(/npm run ([\w-]+)/g)].map((match) => ({ page: page.path, script: match[1] ?? '' })),
  );
  const missing = named.filter(({ page, script }) => {
    const made = MADE[page];
    return ![...scriptsIn('.'), ...(made === undefined ? [] : scriptsIn(made))].includes(script);
  });
  expect(missing).toEqual([]);
});

test('a block that names a file is that file', () => {
  const named = PAGES.flatMap((page) => blocksOf(page).map((block) => ({ page: page.path, ...block }))).filter(
    ({ info }) => info !== '',
  );
  for (const { page, line, info, code } of named) {
    expect(readFileSync(join(ROOT, info), 'utf8'), `${page}:${line}`).toBe(code);
  }
});
