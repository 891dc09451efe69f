// A thread that writes all over the memory of a guest until it is ended.

import { parentPort, workerData } from 'node:worker_threads';
import { mapFile } from '../../linux/mapping.ts';

const { fd, length, offset, size } = workerData as { fd: number; length: number; offset: number; size: number };
const words = new Uint32Array(mapFile(fd, length).buffer, offset, size / 4);
parentPort?.postMessage('begun');
let state = 1;
for (;;) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  // Rings are at the beginning.
  const at = (state >>> 8) % (state & 1 ? words.length : 2048);
  words[at] = ((words[at] as number) ^ (1 << (state >>> 27))) >>> 0;
}
