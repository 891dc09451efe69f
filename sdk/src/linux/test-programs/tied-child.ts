// Ends with its parent; says its number when that is sure.

import { linuxHost } from '../index.ts';

linuxHost.dieWithParent('SIGKILL');
process.stdout.write(`${process.pid}\n`);
setInterval(() => {}, 1000);
