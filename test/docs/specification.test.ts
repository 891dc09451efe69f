import { expect, test } from 'vitest';
import { PAGES } from './pages.ts';

test('every promise names the test or benchmark that keeps it, or says that it is pending', () => {
  const page = PAGES.find(({ path }) => path === 'docs/specification.md');
  const rows = [...(page?.text ?? '').matchAll(/^\| (.+?) \| (.+?) \|$/gm)]
    .map((match) => ({ promise: match[1] ?? '', keeper: match[2] ?? '' }))
    .filter(({ promise }) => promise !== 'promise' && !/^-+$/.test(promise));
  expect(rows.length).toBeGreaterThan(20);
  // That the files exist is seen to where all links are.
  const links = /^(?:\[[\w.-]+\]\(\.\.\/[\w./-]+\.(?:test|bench|check)\.ts\)(?:, )?)+$/;
  expect(rows.filter(({ keeper }) => !links.test(keeper) && keeper !== '*pending*')).toEqual([]);
});
