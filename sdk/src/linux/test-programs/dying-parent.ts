// Starts a process that ends with this one, prints its number once it has asked for that, and waits to be killed.

import { spawn } from 'node:child_process';

const program = new URL('./tied-child.ts', import.meta.url).pathname;
spawn(process.execPath, ['--conditions=@runtime/source', program], { stdio: ['ignore', 'inherit', 'inherit'] });
setInterval(() => {}, 1000);
