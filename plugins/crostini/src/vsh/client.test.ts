import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, afterEach, expect, test } from 'vitest';
import { guestWire } from '../wire/index.ts';
import { openVsh, type VshOptions } from './client.ts';
import { frames } from './framing.ts';

const folder = mkdtempSync(join(tmpdir(), 'vsh-client-'));
let server: Server | undefined;
const sockets: Socket[] = [];
let count = 0;

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A guest that says what it is told to. */
async function guest(onConnection: (socket: Socket) => void): Promise<string> {
  count += 1;
  const path = join(folder, `${count}`);
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.resume();
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server?.listen(path, resolve));
  return path;
}

const ready = frames([guestWire.encode('vm_tools.vsh.SetupConnectionResponse', { status: 'READY', pid: 7 })]);
const exited = (code: number): Buffer =>
  frames([guestWire.encode('vm_tools.vsh.HostMessage', { status_message: { status: 'EXITED', code } })]);
const data = (stream: 'STDOUT_STREAM' | 'STDERR_STREAM' | 'STDIN_STREAM', bytes: Uint8Array): Buffer =>
  frames([guestWire.encode('vm_tools.vsh.HostMessage', { data_message: { stream, data: bytes } })]);

const open = (socketPath: string, options: Partial<VshOptions> = {}) =>
  openVsh({ socketPath, argv: ['x'], ...options });

test('what comes before READY and the exit in one piece is sorted', async () => {
  const path = await guest((socket) =>
    socket.end(Buffer.concat([ready, data('STDOUT_STREAM', Buffer.from('hi')), exited(3)])),
  );
  const session = await open(path);
  expect(session.pid).toBe(7);
  expect(await text(session.stdout)).toBe('hi');
  expect(await session.exit).toBe(3);
});

test('a code is one of a process, whatever the guest says', async () => {
  const path = await guest((socket) => socket.write(Buffer.concat([ready, exited(-1)])));
  expect(await (await open(path)).exit).toBe(255);
});

test('nobody there, a guest that hangs up, one that is silent, and one that refuses have codes of their own', async () => {
  await expect(open(join(folder, 'none'))).rejects.toMatchObject({ code: 'CROSTINI_ERR_VSH_UNREACHABLE' });
  await expect(open(await guest((socket) => socket.end()))).rejects.toMatchObject({
    code: 'CROSTINI_ERR_VSH_UNREACHABLE',
  });
  await expect(open(await guest(() => {}), { connectMs: 50 })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_VSH_UNREACHABLE',
  });
  const no = { status: 'FAILED', description: 'x'.repeat(3000) } as const;
  const path = await guest((socket) =>
    socket.end(frames([guestWire.encode('vm_tools.vsh.SetupConnectionResponse', no)])),
  );
  const failure = await open(path).catch((e: Error) => e);
  expect(failure).toMatchObject({ code: 'CROSTINI_ERR_VSH_REFUSED' });
  expect((failure as Error).message.length).toBeLessThan(700);
});

test('a guest that goes in the midst is told as such, by the exit and by the streams', async () => {
  const path = await guest((socket) => {
    socket.write(ready);
    setTimeout(() => socket.destroy(), 30);
  });
  const session = await open(path);
  await expect(text(session.stdout)).rejects.toMatchObject({ code: 'CROSTINI_ERR_VSH_LOST' });
  await expect(session.exit).rejects.toMatchObject({ code: 'CROSTINI_ERR_VSH_LOST' });
  // Writing on is no error of its own.
  session.stdin.write('x');
  session.resize({ rows: 1, columns: 1 });
});

test('output that nobody reads is not kept without bounds', async () => {
  let taken = 0;
  const path = await guest((socket) => {
    const block = Buffer.concat(Array.from({ length: 64 }, () => data('STDOUT_STREAM', new Uint8Array(4000))));
    const more = (): void => {
      while (taken < 64 << 20 && socket.write(block)) taken += block.length;
    };
    socket.write(ready);
    socket.on('drain', more);
    more();
  });
  const session = await open(path);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(taken).toBeLessThan(4 << 20);
  session[Symbol.dispose]();
});

test('an abort ends it with its reason', async () => {
  const controller = new AbortController();
  const session = await open(await guest((socket) => socket.write(ready)), { signal: controller.signal });
  controller.abort(new Error('enough'));
  await expect(session.exit).rejects.toThrow('enough');
  await expect(open('/nowhere', { signal: controller.signal })).rejects.toThrow('enough');
});

test('any bytes of a guest end in an exit or in an error with a code', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.constant(Uint8Array.from(data('STDIN_STREAM', new Uint8Array(9)))),
        ),
      ),
      async (isReady, chunks) => {
        const path = await guest((socket) => socket.end(Buffer.concat([isReady ? ready : Buffer.alloc(0), ...chunks])));
        const outcome = await open(path)
          .then((session) => {
            session.stdout.resume();
            session.stderr.resume();
            return session.exit;
          })
          .catch((e: unknown) => e);
        server?.close();
        if (typeof outcome !== 'number')
          expect(outcome).toMatchObject({ code: expect.stringMatching(/^CROSTINI_ERR_VSH_/) });
      },
    ),
    { numRuns: 60 },
  );
});
