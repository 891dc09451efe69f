import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { blocksOf, PAGES, ROOT } from './pages.ts';

const run = promisify(execFile);
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');

/** In the cache, from where packages of the workspace are found. */
function makeFolder(): string {
  const cache = join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  return mkdtempSync(join(cache, 'docs-'));
}

test('what the guides and the README show type-checks as it stands', async () => {
  const pages = PAGES.filter(({ path }) => path === 'README.md' || path.startsWith('docs/guides/'));
  const folder = makeFolder();
  try {
    const files = pages.flatMap((page) =>
      // A block that is a file of the repository is checked there.
      blocksOf(page)
        .filter(({ language, info }) => language === 'ts' && info === '')
        .map(({ code, line }) => {
          const name = `${page.path.replaceAll(/[/.]/g, '-')}-line-${line}.ts`;
          writeFileSync(join(folder, name), code);
          return name;
        }),
    );
    expect(files.length).toBeGreaterThan(3);
    const config = { extends: join(ROOT, 'tsconfig.base.json'), compilerOptions: { noEmit: true }, files };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
    const outcome = await run(process.execPath, [TSC, '-p', folder]).catch(
      (error: { readonly stdout: string }) => error,
    );
    expect(outcome.stdout).toBe('');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
