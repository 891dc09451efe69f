import { expect, test } from 'vitest';
import { tablesOf } from './index.ts';
import { policyFromTrace } from './record.ts';
import { parseText } from './test-policies.ts';

const TRACE = `
1 execve(0x7ffc, 0x7ffd, 0x7ffe) = 0
1 mmap(0, 0x2000, 0x3, 0x22, 0xffffffff, 0) = 0x7f00
1 mmap(0, 0x2000, 0x5, 0x22, 0x3, 0) = 0x7f00
1 ioctl(0x1, 0x5401, 0x7ffc) = 0
1 read(0x3, 0x7ffc, 0x40 <unfinished ...>
[pid 2] ioctl(0x1, 0x5413, 0x7ffc) = -1 ENOTTY (Inappropriate ioctl for device)
1 <... read resumed>) = 64
1 read(0x3, 0x7ffc, 0x40) = 0
1 --- SIGCHLD {si_signo=SIGCHLD} ---
1 +++ exited with 0 +++
`;
const tables = tablesOf('x86_64');

test.each(['python', 'c'] as const)('what was seen is allowed, and no more: %s', (dialect) => {
  const text = policyFromTrace([{ file: 't', text: TRACE }], tables, dialect);
  expect(text.split('\n').slice(2)).toEqual([
    'ioctl: arg1 == 0x5401 || arg1 == 0x5413',
    'mmap: arg2 in 0x3 || arg2 in 0x5',
    `read: ${dialect === 'c' ? '1' : 'allow'}`,
    `execve: ${dialect === 'c' ? '1' : 'allow'}`,
    '',
  ]);
  expect(parseText(text, { dialect }).rules.size).toBe(4);
});

test.each([
  ['1 ioctl(1, TCGETS, 0) = 0', 'the trace is not raw'],
  ['1 what is this', 'is no system call'],
  ['1 nonesuch(1) = 0', 'x86_64 has no system call "nonesuch"'],
])('%s is refused', (line, why) => {
  expect(() => policyFromTrace([{ file: 't', text: line }], tables, 'python')).toThrow(why);
});
