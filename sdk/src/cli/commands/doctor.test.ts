import type { CheckReport } from '@runtime/core';
import { expect, test } from 'vitest';
import { noPaint } from '../terminal.ts';
import { reportsText } from './doctor.ts';

const report = (name: string, status: CheckReport['status'], found: string, remedy?: string): CheckReport => ({
  ...{ name, plugin: name.startsWith('vm-') ? 'vmm' : 'runtime', status, found },
  ...(remedy === undefined ? {} : { remedy }),
});

test('what was found stands in columns, under what it belongs to, and within the terminal', () => {
  const reports = [
    report('node', 'ok', '24.21.0'),
    report('inotify watches', 'warn', 'only 3', 'Have more of them, as many as the words of this remedy take lines.'),
    report('vm-network', 'ok', 'passt \u001b[31m'),
  ];
  expect(reportsText(reports, noPaint, 64)).toBe(
    [
      'this computer',
      'ok    node             24.21.0',
      'warn  inotify watches  only 3',
      '                       → Have more of them, as many as the words',
      '                         of this remedy take lines.',
      '',
      'vmm',
      'ok    vm-network       passt \\x1b[31m',
      '',
      '1 of 3 checks have something to say',
    ].join('\n'),
  );
  expect(reportsText([report('node', 'fail', 'old', 'A new one.')], noPaint, Infinity)).toMatch(
    /1 of 1 checks failed$/,
  );
  expect(reportsText([report('node', 'ok', 'x')], noPaint, 80)).toMatch(/all 1 checks are well$/);
});
