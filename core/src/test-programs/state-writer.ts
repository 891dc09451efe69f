// Writes one document for ever, each time with another size, until it is killed.

import { createLogger } from '../logging.ts';
import { createStateStore } from '../state-store.ts';

const [directory, from] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: state-writer DIRECTORY FROM');
const store = createStateStore(directory, createLogger({ level: 'silent' }));
for (let n = Number(from); ; n += 1) {
  await store.write('d', { n, fill: 'f'.repeat((n % 7) * 500_000) });
  process.send?.(n);
}
