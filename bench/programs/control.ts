// A runtime with a control socket, and beside it a socket that echoes. Arguments: their two paths. Says `ready` on
// standard output; ends when standard input does.

import { createServer } from 'node:net';
import { createLogger, createRuntime } from '@runtime/core';
import { startControlServer } from '@runtime/core/control';

const [controlPath = '', echoPath = ''] = process.argv.slice(2);
const log = createLogger({ level: 'silent' });
const runtime = createRuntime({ log });
await runtime.start();
const refuse = (): never => {
  throw new Error('not in this benchmark');
};
const host = { recorder: undefined, find: refuse, settings: refuse, requestStop: () => {} };
const control = await startControlServer({ runtime, host, socketPath: controlPath, log });
const echo = createServer((socket) => socket.pipe(socket));
await new Promise<void>((resolve) => echo.listen(echoPath, resolve));
console.log('ready');
for await (const _chunk of process.stdin);
echo.close();
await control[Symbol.asyncDispose]();
await runtime.stop();
process.exit(0);
