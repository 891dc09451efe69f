import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openVsh, type VshOptions, type VshSession } from '../../../src/vsh/client.ts';
import { frames } from '../../../src/vsh/framing.ts';
import { vshWire } from '../../../src/vsh/wire.ts';
import { startVshd } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'vshd-'));
const servers: Server[] = [];

/** A vshd on a Unix socket, as if the host's vsock device were between. */
async function serve(name: string, cid = 2): Promise<string> {
  const path = join(folder, name);
  const server = createServer({ allowHalfOpen: true });
  startVshd(
    (onConnection) => server.on('connection', (stream) => onConnection(stream, { cid, port: 1000 })),
    () => {},
  );
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

let socketPath = '';
beforeAll(async () => {
  socketPath = await serve('vsh');
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

const open = (options: Omit<VshOptions, 'socketPath'>): Promise<VshSession> =>
  openVsh({ socketPath, user: 'root', ...options });

async function run(options: Omit<VshOptions, 'socketPath'>, input: string | Uint8Array = '') {
  const session = await open(options);
  if (options.pty === undefined) session.stdin.end(input);
  else if (input.length > 0) session.stdin.write(input);
  const [stdout, stderr, code] = await Promise.all([text(session.stdout), text(session.stderr), session.exit]);
  return { stdout, stderr, code };
}

/** Reads until the output has the text. */
async function until(session: VshSession, wanted: string): Promise<string> {
  let got = '';
  for await (const chunk of session.stdout.iterator({ destroyOnReturn: false })) {
    got += chunk;
    if (got.includes(wanted)) break;
  }
  return got;
}

const window = { rows: 24, columns: 80 };

test('a command has its streams, its exit code and its environment', async () => {
  const command = 'read line; echo "$line $GREETING $HOME"; echo oops >&2; exit 7';
  const result = await run({ command, env: { GREETING: 'hello' } }, 'you\n');
  expect(result).toEqual({ stdout: 'you hello /root\n', stderr: 'oops\n', code: 7 });
});

test('exit codes are those of a shell: signals, programs that are not there, and that are none', async () => {
  expect(await run({ command: 'kill -9 $$' })).toMatchObject({ code: 137 });
  expect(await run({ argv: ['no-such-program'] })).toMatchObject({
    code: 127,
    stderr: 'no-such-program: command not found\n',
  });
  expect(await run({ argv: ['/etc/passwd'] })).toMatchObject({ code: 126 });
});

test('arguments arrive as they are, and so does what a child opens again', async () => {
  expect(await run({ argv: ['printf', '%s|', 'a b', '$HOME', '', '*'] })).toMatchObject({ stdout: 'a b|$HOME||*|' });
  expect(await run({ command: 'cat /dev/stdin > /dev/stderr' }, 'again')).toMatchObject({ stderr: 'again', code: 0 });
});

test('another user is that user, with its groups; one that is not there is refused in the words of ChromeOS', async () => {
  expect(await run({ user: 'nobody', argv: ['id', '-un'] })).toMatchObject({ stdout: 'nobody\n' });
  await expect(open({ user: 'no-such-user', argv: ['id'] })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_VSH_REFUSED',
    message: expect.stringContaining('could not find user'),
  });
});

test('a working folder that is not there is refused', async () => {
  expect(await run({ argv: ['pwd'], cwd: '/usr' })).toMatchObject({ stdout: '/usr\n' });
  await expect(open({ argv: ['pwd'], cwd: '/no/such' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_VSH_REFUSED' });
});

test('bytes go through both ways unchanged while both ends are busy', async () => {
  const session = await open({ argv: ['cat'] });
  const block = Buffer.alloc(
    1 << 20,
    Uint8Array.from({ length: 251 }, (_, i) => i),
  );
  const [sent, got] = [createHash('sha256'), createHash('sha256')];
  const write = async (): Promise<void> => {
    for (let i = 0; i < 16; i++) {
      sent.update(block);
      if (!session.stdin.write(block)) await new Promise((resolve) => session.stdin.once('drain', resolve));
    }
    session.stdin.end();
  };
  const read = async (): Promise<void> => {
    for await (const chunk of session.stdout) got.update(chunk);
  };
  session.stderr.resume();
  await Promise.all([write(), read()]);
  expect(await session.exit).toBe(0);
  expect(got.digest('hex')).toBe(sent.digest('hex'));
});

test('a reader that is slow gets all, and the exit after it', async () => {
  const session = await open({ argv: ['head', '-c', '4000000', '/dev/zero'] });
  session.stdin.end();
  session.stderr.resume();
  let isOver = false;
  session.exit.then(() => {
    isOver = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(isOver).toBe(false);
  expect(await buffer(session.stdout)).toHaveLength(4_000_000);
  expect(await session.exit).toBe(0);
});

test('a command that leaves a child behind ends all the same, with what it said', async () => {
  const result = await run({ command: 'sleep 3 & echo said' });
  expect(result).toMatchObject({ stdout: 'said\n', code: 0 });
});

test('a terminal has a size, follows it, and is the controlling one', async () => {
  const session = await open({
    command: 'tty; stty size; trap "stty size; exit 3" WINCH; echo ready; while :; do sleep 0.05; done',
    pty: { rows: 33, columns: 99 },
  });
  expect(await until(session, 'ready')).toMatch(/^\/dev\/pts\/\d+\r\n33 99\r\n/);
  session.resize({ rows: 10, columns: 20 });
  expect(await until(session, '\n')).toContain('');
  expect(await session.exit).toBe(3);
});

test('^C of a terminal and SIGINT of a client reach the foreground job, not the shell', async () => {
  for (const interrupt of [
    (session: VshSession) => void session.stdin.write('\x03'),
    (session: VshSession) => session.signal('SIGINT'),
  ]) {
    const session = await open({ argv: ['bash', '--norc', '-i'], env: { PS1: '> ' }, pty: window });
    session.stdin.write('sleep 30; echo code=$?\n');
    await until(session, '\n');
    await new Promise((resolve) => setTimeout(resolve, 200));
    interrupt(session);
    session.stdin.write('echo still; exit 5\n');
    expect(await text(session.stdout)).toContain('still');
    expect(await session.exit).toBe(5);
  }
});

test('the end of input ends what reads a terminal', async () => {
  const session = await open({ argv: ['cat'], pty: window });
  session.stdin.end('line\n');
  expect(await text(session.stdout)).toContain('line\r\nline\r\n');
  expect(await session.exit).toBe(0);
});

test('signals of a client end a command on pipes', async () => {
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGHUP', 129],
    ['SIGQUIT', 131],
    ['SIGINT', 130],
  ] as const) {
    const session = await open({ argv: ['sleep', '30'] });
    session.stdout.resume();
    session.stderr.resume();
    session.signal(signal);
    expect(await session.exit).toBe(code);
  }
});

test('what runs is hung up when its client goes', async () => {
  for (const pty of [undefined, window]) {
    const session = await open({ argv: ['sleep', '30'], pty });
    expect(existsSync(`/proc/${session.pid}`)).toBe(true);
    session[Symbol.dispose]();
    await expect(session.exit).rejects.toMatchObject({ code: 'CROSTINI_ERR_VSH_LOST' });
    await expect.poll(() => existsSync(`/proc/${session.pid}`)).toBe(false);
  }
});

test('what does not read its input is hung up all the same when its client goes', async () => {
  const session = await open({ argv: ['sleep', '30'] });
  session.stdin.write(Buffer.alloc(4 << 20));
  await new Promise((resolve) => setTimeout(resolve, 300));
  session[Symbol.dispose]();
  await expect.poll(() => existsSync(`/proc/${session.pid}`), { timeout: 5_000 }).toBe(false);
});

test('output in a terminal that is not read stops the program, not the server', async () => {
  const busy = await open({ command: 'yes', pty: window });
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(await run({ argv: ['echo', 'alive'] })).toMatchObject({ stdout: 'alive\n' });
  // A terminal whose program reads nothing takes what fits, and no more.
  const deaf = await open({ argv: ['sleep', '30'], pty: window });
  deaf.stdin.write(Buffer.alloc(1 << 20, 'x\n'));
  expect(await run({ argv: ['echo', 'alive'] })).toMatchObject({ stdout: 'alive\n' });
  busy[Symbol.dispose]();
  deaf[Symbol.dispose]();
});

test('fifty shells at once keep apart', async () => {
  const all = Array.from({ length: 50 }, async (_, i) => {
    const session = await open({ argv: ['bash', '--norc', '-i'], pty: window });
    session.stdin.write(`stty -echo; echo "I am $((${i} + 1000))"; exit ${i}\n`);
    const [output, code] = await Promise.all([text(session.stdout), session.exit]);
    expect(output).toContain(`I am ${i + 1000}`);
    expect(code).toBe(i);
  });
  await Promise.all(all);
});

test('no descriptor is left of a session', async () => {
  const count = (): number => readdirSync('/proc/self/fd').length;
  const once = async (): Promise<void> => {
    await run({ command: 'echo hello' });
    await run({ command: 'echo hello', pty: window });
    await run({ user: 'no-such-user' }).catch(() => {});
  };
  await once();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const before = count();
  for (let i = 0; i < 5; i++) await once();
  await expect.poll(count).toBeLessThanOrEqual(before);
});

test('only the host is served', async () => {
  const path = await serve('other', 5);
  await expect(openVsh({ socketPath: path, argv: ['id'] })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_VSH_UNREACHABLE',
  });
});

test('random bytes end their connection and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 5000 }), async (bytes) => {
      const socket = connect(socketPath);
      socket.on('error', () => {});
      socket.end(bytes);
      socket.resume();
      await new Promise((resolve) => socket.on('close', resolve));
    }),
    { numRuns: 50 },
  );
  expect(await run({ argv: ['echo', 'alive'] })).toMatchObject({ stdout: 'alive\n' });
});

test('messages that are well-formed and make no sense end in an answer or a goodbye, and leave no process', async () => {
  const word = fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom('\0', '/', '..', '', '-1', 'root', '/vm_shell'));
  const number = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const request = fc.record({
    target: fc.constantFrom('', '/vm_shell', 'penguin'),
    user: fc.oneof(fc.constant('root'), word),
    env: fc.array(fc.tuple(word, word), { maxLength: 5 }).map((pairs) => new Map(pairs)),
    argv: fc.array(fc.oneof(fc.constant('true'), word), { maxLength: 4 }),
    ...{ window_rows: number, window_cols: number, nopty: fc.boolean(), cwd: word, cwd_pid: number },
  });
  const message = fc.oneof(
    fc.record({ resize_message: fc.record({ rows: number, cols: number }) }),
    fc.record({ signal: fc.oneof(number, fc.constantFrom('SIGNAL_INT' as const, 'SIGNAL_UNKNOWN' as const)) }),
    fc.record({ data_message: fc.record({ stream: number, data: fc.uint8Array({ maxLength: 50 }) }) }),
  );
  await fc.assert(
    fc.asyncProperty(request, fc.array(message, { maxLength: 5 }), async (setup, rest) => {
      const socket = connect(socketPath);
      socket.on('error', () => {});
      socket.write(
        frames([
          vshWire.encode('vm_tools.vsh.SetupConnectionRequest', setup),
          ...rest.map((one) => vshWire.encode('vm_tools.vsh.GuestMessage', one)),
        ]),
      );
      socket.resume();
      // Some wait for input, as they should.
      const timer = setTimeout(() => socket.destroy(), 100);
      await new Promise((resolve) => socket.on('close', resolve));
      clearTimeout(timer);
    }),
    { numRuns: 60 },
  );
  expect(await run({ argv: ['echo', 'alive'] })).toMatchObject({ stdout: 'alive\n' });
});
