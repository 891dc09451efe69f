// Prints whether koffi's library is mapped before and after the first call.

import { readFileSync } from 'node:fs';
import { linuxHost, peerCredentials } from '../index.ts';

const isLoaded = (): boolean => readFileSync('/proc/self/maps', 'latin1').includes('koffi');

const before = linuxHost.peerCredentials === peerCredentials && isLoaded();
try {
  linuxHost.peerCredentials(0);
} catch {
  // Standard input is no socket, or is: the call alone matters.
}
process.stdout.write(JSON.stringify({ before, after: isLoaded() }));
