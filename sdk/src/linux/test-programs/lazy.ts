// Prints what is loaded before the first call, and after it.

import { readFileSync } from 'node:fs';
import { linuxHost } from '../host.ts';

const isLoaded = (): boolean => readFileSync('/proc/self/maps', 'latin1').includes('koffi');

const before = isLoaded();
linuxHost.peerCredentials.toString();
const untouched = isLoaded();
linuxHost.sealDescriptors?.();
process.stdout.write(JSON.stringify({ before, untouched, after: isLoaded() }));
