// The thread behind test/security/scribbler.ts.

import { workerData } from 'node:worker_threads';
import { mapFile } from '@runtime/sdk/linux';
import { SCRIBBLER, type ScribblerData } from '../security/scribbler.ts';

/** Words at the beginning of the memory, where the rings are. */
const RING_WORDS = 4096;
/** Writes between two looks at whether more are wanted. */
const BATCH = 256;

const { control, fd, length, offset, size } = workerData as ScribblerData;
const words = new Uint32Array(mapFile(fd, length).buffer, offset, size / 4);
let state = 1;
for (;;) {
  Atomics.wait(control, SCRIBBLER.wanted, 0);
  Atomics.store(control, SCRIBBLER.working, 1);
  while (Atomics.load(control, SCRIBBLER.wanted) === 1) {
    for (let left = BATCH; left > 0; left -= 1) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      const at = (state >>> 8) % ((state & 1) === 0 ? RING_WORDS : words.length);
      words[at] = ((words[at] as number) ^ (1 << (state >>> 27))) >>> 0;
    }
  }
  Atomics.store(control, SCRIBBLER.working, 0);
}
