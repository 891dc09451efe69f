// Watches an eventfd, forgets the watch, and collects garbage between the events. Then the callback throws.

import { drainEventfd, eventfd, signalEventfd } from '../eventfd.ts';
import { watch } from '../watch.ts';

const fd = eventfd();
let told = 0;
let fail = false;

function start(): void {
  watch(fd, { readable: true }, () => {
    drainEventfd(fd);
    told++;
    if (fail) throw new Error('thrown by the callback');
  });
}

process.once('uncaughtException', (e) => {
  process.stdout.write(JSON.stringify({ told: told - 1, uncaught: e.message }));
  process.exit(0);
});

start();
for (let i = 0; i < 20; i++) {
  globalThis.gc?.();
  signalEventfd(fd);
  await new Promise((resolve) => setTimeout(resolve, 2));
}
fail = true;
signalEventfd(fd);
