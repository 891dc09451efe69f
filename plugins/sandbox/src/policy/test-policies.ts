// Policies as text, for tests.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ParseOptions, type Policy, parsePolicy, tablesOf } from './index.ts';

/** Files by name; the policy is the first. */
export function parseText(
  files: string | Readonly<Record<string, string>>,
  options: Partial<ParseOptions> = {},
): Policy {
  const folder = mkdtempSync(join(tmpdir(), 'policy-'));
  try {
    const all = typeof files === 'string' ? { policy: files } : files;
    for (const [name, text] of Object.entries(all)) writeFileSync(join(folder, name), text);
    const [first = ''] = Object.keys(all);
    return parsePolicy(join(folder, first), { dialect: 'python', tables: tablesOf('x86_64'), cwd: folder, ...options });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
