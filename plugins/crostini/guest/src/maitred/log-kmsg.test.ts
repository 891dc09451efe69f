import { execFileSync } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { crashIn } from './crash-signs.ts';
import { type KernelRecord, parseKernelRecord, readKernelLog, stamped } from './log-kmsg.ts';

test('records of /dev/kmsg are understood', () => {
  const record = parseKernelRecord('30,1234,5678901,-;maitred: serving; all of it\n SUBSYSTEM=x\n');
  expect(record).toEqual({
    ...{ facility: 3, severity: 6, sequence: 1234, microseconds: 5_678_901, text: 'maitred: serving; all of it' },
  });
  expect(stamped(record as KernelRecord)).toBe('[    5.678901] maitred: serving; all of it');
  // With the thread that wrote it, CONFIG_PRINTK_CALLER.
  expect(parseKernelRecord('6,1,0,c,caller=T1;')).toMatchObject({ facility: 0, text: '' });
});

test('what is none is none', () => {
  for (const line of ['', ';', '6,1;a', 'x,1,2,-;a', `${'9'.repeat(30)},1,2,-;a`]) {
    expect(parseKernelRecord(line)).toBeUndefined();
  }
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (line) => {
      const record = parseKernelRecord(line);
      if (record !== undefined) expect(record.text).not.toContain('\n');
    }),
  );
});

test('what was overwritten before it was read is counted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kmsg-'));
  const path = join(folder, 'kmsg');
  // As the kernel's: each read gives what one write has put there, as long as somebody reads in between.
  execFileSync('mkfifo', [path]);
  const records: string[] = [];
  let missed = 0;
  const reading = readKernelLog(
    path,
    ({ text }) => records.push(text),
    (count) => {
      missed += count;
    },
  );
  const fd = openSync(path, 'w');
  for (const line of ['6,7,1,-;a\n', 'nonsense\n', '6,8,1,-;b\n', '6,12,1,-;c\n']) {
    writeSync(fd, line);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await vi.waitFor(() => expect(records).toEqual(['a', 'b', 'c']));
  expect(missed).toBe(3);
  reading[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

test.each([
  ['a.out[77]: segfault at 0 ip 0000 sp 0000 error 6 in a.out[1000+1000]', 'a.out', '77', 'segmentation fault'],
  ['traps: node[5] trap invalid opcode ip:55 sp:7f error:0 in node[1+1]', 'node', '5', 'invalid opcode'],
  ['traps: x y[5] general protection fault ip:1 sp:2 error:0', 'x y', '5', 'general protection fault'],
  [
    'Out of memory: Killed process 812 (stress) total-vm:10kB, anon-rss:1kB',
    ...['stress', '812', 'killed, since there was no memory left'],
  ],
])('%s is a crash', (line, process, pid, reason) => {
  expect(crashIn(line)).toEqual({ process, pid, reason });
});

test('other lines are none', () => {
  for (const line of ['Linux version 6', 'segfault at', `${'x'.repeat(40)}[1]: segfault at 0`]) {
    expect(crashIn(line)).toBeUndefined();
  }
});
