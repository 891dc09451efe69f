// What a process needed only to start is given back: an idle device process should cost little, and there are many.

import { readFileSync } from 'node:fs';
import { declare } from '../../linux/call.ts';
import { madvise } from '../../linux/mapping.ts';

// ABI: int malloc_trim(size_t pad); malloc_trim(3). Gives free heap pages back to the kernel. glibc only.
const mallocTrim = declare<[pad: number], number>('int malloc_trim(size_t pad)');

/** What V8 is told for the time of the collection, and told back; names of flags of V8 13.6. */
const THOROUGH = ['--bytecode-old-age=1', '--compact-on-every-full-gc'];
const USUAL = ['--bytecode-old-age=6', '--no-compact-on-every-full-gc'];
/** The first one makes bytecode that has not run since older, the second one throws it away. */
const COLLECTIONS = 2;

/**
 * Collects garbage and the bytecode of functions that only the start needed (V8 compiles them again, should they be called),
 * returns free pages of the C heap, and drops program text from the page table. Text that is used again comes from the page
 * cache, without reading a disk. Takes some 20 ms.
 */
export function trimMemory(): void {
  // Before all else, since it makes garbage itself.
  const text = cleanText();
  collect();
  try {
    mallocTrim(0);
  } catch {
    // musl has none.
  }
  for (const { address, length } of text) madvise(address, length, 'dontneed');
}

function collect(): void {
  const gc = globalThis.gc as ((options: object) => void) | undefined;
  // Not imported: it would be loaded when the device should be.
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  for (const flag of THOROUGH) setFlagsFromString(flag);
  for (let i = 0; i < COLLECTIONS; i++) gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  for (const flag of USUAL) setFlagsFromString(flag);
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
