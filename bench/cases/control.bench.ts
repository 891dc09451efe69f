// A round trip over the control socket to a runtime in another process, beside an echo of as many bytes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { connect } from '@runtime/core/control';
import type { Benchmark, Side } from '../benchmark.ts';
import { makeFolder } from '../fixtures.ts';

const PROGRAM = join(import.meta.dirname, '../programs/control.ts');
/** As the client sends it. */
const REQUEST = Buffer.from('{"type":"request","v":1,"id":123456,"method":"ping","params":{}}\n');

async function echoing(path: string): Promise<{ readonly side: Side; readonly end: () => void }> {
  const socket = connectSocket(path);
  await once(socket, 'connect');
  let waiting: (() => void) | undefined;
  let missing = 0;
  socket.on('data', (chunk) => {
    missing -= chunk.length;
    if (missing === 0) waiting?.();
  });
  const side: Side = async (iterations) => {
    for (let i = 0; i < iterations; i++) {
      await new Promise<void>((resolve) => {
        waiting = resolve;
        missing = REQUEST.length;
        socket.write(REQUEST);
      });
    }
    return socket.bytesRead;
  };
  return { side, end: () => socket.destroy() };
}

const benchmarks: readonly Benchmark[] = [
  {
    name: 'control/ping',
    title: 'round trip of `ping` over the control socket to another process',
    peer: 'echo',
    target: { kind: 'none' },
    async prepare() {
      const folder = makeFolder();
      chmodSync(folder.path, 0o700);
      const [controlPath, echoPath] = [join(folder.path, 'control.sock'), join(folder.path, 'echo.sock')];
      const child = spawn(process.execPath, [...process.execArgv, PROGRAM, controlPath, echoPath], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      const client = await connect({ path: controlPath });
      const echo = await echoing(echoPath);
      return {
        ours: async (iterations) => {
          let letters = 0;
          for (let i = 0; i < iterations; i++) letters += (await client.request('ping', {})).instance.length;
          return letters;
        },
        peer: echo.side,
        end: async () => {
          await client[Symbol.asyncDispose]();
          echo.end();
          child.stdin.end();
          await once(child, 'exit');
          folder.remove();
        },
      };
    },
  },
];

export default benchmarks;
