// What a process needed only to start is given back: an idle device process should cost little, and there are many.

import { readFileSync } from 'node:fs';
import { declare } from '../../linux/call.ts';
import { madvise } from '../../linux/mapping.ts';

// ABI: int malloc_trim(size_t pad); malloc_trim(3). Gives free heap pages back to the kernel. glibc only.
const mallocTrim = declare<[pad: number], number>('int malloc_trim(size_t pad)');

/**
 * Collects garbage, returns free pages of the C heap, and drops program text from the page table. Text that is used again
 * comes from the page cache, without reading a disk.
 */
export function trimMemory(): void {
  const collect = globalThis.gc as ((options: object) => void) | undefined;
  collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  try {
    mallocTrim(0);
  } catch {
    // musl has none.
  }
  for (const { address, length } of cleanText()) madvise(address, length, 'dontneed');
}

interface Range {
  readonly address: number;
  readonly length: number;
}

/** File mappings that nothing was written to: without relocations, so that the file says all that is in them. */
function cleanText(): readonly Range[] {
  const ranges: Range[] = [];
  let current: Range | undefined;
  for (const line of readFileSync('/proc/self/smaps', 'latin1').split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s+(\S.*)?$/.exec(line);
    if (head !== null) {
      const [, from = '', to = '', mode = '', file = ''] = head;
      const address = Number.parseInt(from, 16);
      const isText = (mode === 'r-xp' || mode === 'r--p') && file.startsWith('/');
      current = isText ? { address, length: Number.parseInt(to, 16) - address } : undefined;
    } else if (current !== undefined && /^Anonymous:\s+0 kB$/.test(line)) {
      ranges.push(current);
      current = undefined;
    }
  }
  return ranges;
}
