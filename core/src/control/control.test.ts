import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../clock.ts';
import type { CommandIo, TerminalSize } from '../commands.ts';
import type { NativeHost } from '../host.ts';
import { Latest } from '../latest.ts';
import { TraceRecorder } from '../trace-recorder.ts';
import { encodeFrame, FrameDecoder } from '../wire/frames.ts';
import type { JsonObject } from '../wire/value.ts';
import { type ConnectOptions, type ControlClient, connect } from './client.ts';
import {
  createFakeHost,
  createFakeRuntime,
  type FakeControlHost,
  type FakeRuntime,
  silentLog,
} from './fake-runtime.ts';
import type { CommandItem } from './method-types.ts';
import { type ControlServer, type ControlServerOptions, startControlServer } from './server.ts';

let folder: string;
let path: string;
let runtime: FakeRuntime;
let host: FakeControlHost;
const open: AsyncDisposable[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'control-'));
  path = join(folder, 'default.sock');
  runtime = createFakeRuntime();
  host = createFakeHost();
});
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function keep<T extends AsyncDisposable>(thing: T): T {
  open.push(thing);
  return thing;
}

async function serve(options: Partial<ControlServerOptions> = {}): Promise<ControlServer> {
  return keep(await startControlServer({ runtime, host, socketPath: path, log: silentLog, ...options }));
}

async function client(options: ConnectOptions = {}): Promise<ControlClient> {
  return keep(await connect({ path, ...options }));
}

/** Waits for a condition; the time-out of the test is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

function emit(topic: string, data: unknown): void {
  (runtime.events as unknown as { emit: (topic: string, data: unknown) => void }).emit(topic, data);
}

/** A peer without manners. */
class RawPeer implements AsyncDisposable {
  readonly socket: Socket;
  readonly frames: JsonObject[] = [];
  readonly closed: Promise<void>;

  constructor() {
    const decoder = new FrameDecoder();
    this.socket = connectSocket(path);
    this.socket.on('data', (chunk) => decoder.push(chunk, (frame) => this.frames.push(frame)));
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
  }

  send(message: object): void {
    this.socket.write(encodeFrame(message));
  }

  async next(type: string): Promise<JsonObject> {
    await until(() => this.frames.some((frame) => frame.type === type));
    return this.frames.splice(
      this.frames.findIndex((frame) => frame.type === type),
      1,
    )[0] as JsonObject;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

describe('requests', () => {
  it('are answered, with values that JSON lacks', async () => {
    await serve();
    const c = await client();
    expect(c.server).toMatchObject({ instance: 'fake', pid: process.pid });
    expect(await c.request('ping', {})).toEqual({ instance: 'fake' });
    expect(await c.request('inspect', {})).toEqual(runtime.inspect());
    expect(await c.request('status', {})).toMatchObject({ state: 'running', pending: ['hello (ready): listener x'] });
    expect(await c.request('plugin.list', {})).toEqual(runtime.inspect().plugins);
    expect(await c.request('plugin.info', { name: 'hello' })).toMatchObject({ version: '1.2.3' });
    expect(await c.request('plugin.graph', {})).toEqual({
      waves: [['hello']],
      edges: [{ plugin: 'hello', service: 'clock', range: '^1.0.0', optional: true, provider: undefined }],
    });
    expect(await c.request('doctor', {})).toMatchObject([{ name: 'kvm', remedy: 'modprobe kvm' }]);
  });

  it('change the runtime', async () => {
    await serve();
    const c = await client();
    const report = await c.request('plugin.reload', { name: 'hello' });
    expect(report).toMatchObject({ outcome: 'kept-old', error: { message: 'a syntax error' } });
    expect(await c.request('plugin.enable', { spec: 'other' })).toEqual({ name: 'other' });
    await c.request('plugin.disable', { name: 'hello' });
    expect(runtime.asked).toEqual(['reload hello', 'add other', 'remove hello']);
    await c.request('stop', { reason: 'enough' });
    expect(host.stopRequested).toBe('enough');
  });

  it('fail with the code of the runtime', async () => {
    await serve();
    const c = await client();
    await expect(c.request('plugin.info', { name: 'helo' })).rejects.toMatchObject({
      code: 'CORE_ERR_PLUGIN_UNKNOWN',
      message: expect.stringContaining('did you mean "hello"'),
    });
    await expect(c.request('trace.why', { id: -1 })).rejects.toMatchObject({ code: 'CORE_ERR_CONTROL_PARAMS' });
    await expect(c.request('plugin.info', { nome: 'x' } as never)).rejects.toMatchObject({
      code: 'CORE_ERR_CONTROL_PARAMS',
    });
    await expect(c.request('plugin.lisst' as 'plugin.list', {})).rejects.toMatchObject({
      code: 'CORE_ERR_CONTROL_METHOD',
      message: expect.stringContaining('did you mean "plugin.list"'),
    });
  });

  it('answer why something happened', async () => {
    using recorder = new TraceRecorder(runtime.tracer, 100);
    await serve({ host: { ...host, recorder } });
    const c = await client();
    runtime.tracer.span('command', 'outer', 'hello', () =>
      runtime.tracer.point('lease', 'inner', 'hello', { fn: () => 1 }),
    );
    const inner = recorder.records.find((record) => record.name === 'inner');
    const chain = await c.request('trace.why', { id: inner?.id ?? 0 });
    expect(chain.map((record) => record.name)).toEqual(['inner', 'outer']);
    // What cannot cross is replaced by the reason.
    expect(chain[0]?.detail).toEqual({ note: expect.stringContaining('value.fn is a function') });
  });

  it('are taken from a hundred clients at once', async () => {
    const server = await serve();
    const clients = await Promise.all(Array.from({ length: 100 }, () => client()));
    expect(server.connections).toBe(100);
    const answers = await Promise.all(clients.flatMap((c) => [c.request('ping', {}), c.request('inspect', {})]));
    expect(answers).toHaveLength(200);
    await Promise.all(clients.map((c) => c[Symbol.asyncDispose]()));
    await until(() => server.connections === 0);
  });

  it('end with a deadline when the runtime does not answer', async () => {
    await serve({ runtime: { ...runtime, doctor: () => new Promise(() => {}) } });
    const c = await client();
    await expect(c.request('doctor', {}, { deadlineMs: 20 })).rejects.toMatchObject({
      code: 'CORE_ERR_CONTROL_DEADLINE',
    });
    const abort = new AbortController();
    const request = c.request('doctor', {}, { signal: abort.signal });
    abort.abort();
    await expect(request).rejects.toMatchObject({ code: 'CORE_ERR_CANCELLED' });
    expect(await c.request('ping', {})).toEqual({ instance: 'fake' });
  });

  it('end with a code when the server stops', async () => {
    const server = await serve({ runtime: { ...runtime, doctor: () => new Promise(() => {}) } });
    const c = await client();
    const request = c.request('doctor', {});
    const ended = expect(request).rejects.toMatchObject({
      code: 'CORE_ERR_CONTROL_CLOSED',
      cause: expect.objectContaining({ code: 'CORE_ERR_CLOSING' }),
    });
    await c.request('ping', {});
    await server[Symbol.asyncDispose]();
    await ended;
    await c.closed;
    await expect(connect({ path })).rejects.toMatchObject({ code: 'CORE_ERR_CONTROL_UNREACHABLE' });
  });
});

describe('streams', () => {
  it('deliver events until the reader leaves, and then stop listening', async () => {
    await serve();
    const c = await client();
    emit('vm:early', { n: 0 });
    const seen: unknown[] = [];
    for await (const item of c.stream('events.subscribe', { pattern: 'vm:*', replay: 5 })) {
      seen.push(item);
      if (seen.length === 1) {
        emit('other:topic', {});
        emit('vm:started', { cid: 3n, fn: () => 1 });
        emit('vm:stopped', { cid: 3n });
      }
      if (seen.length === 3) break;
    }
    expect(seen).toMatchObject([
      { kind: 'event', topic: 'vm:early', data: { n: 0 }, source: 'runtime' },
      { kind: 'event', topic: 'vm:started', data: undefined, note: expect.stringContaining('value.fn is a function') },
      { kind: 'event', topic: 'vm:stopped', data: { cid: 3n } },
    ]);
    await until(() => runtime.listenersOf('vm:stopped') === 0);
  });

  it('deliver traces through a filter', async () => {
    await serve();
    const c = await client();
    const names: string[] = [];
    const stream = c.stream('trace.subscribe', { kind: 'lease', vm: 'penguin' });
    const reading = (async () => {
      for await (const item of stream) if (item.kind === 'trace') names.push(item.record.name);
    })();
    await c.request('ping', {});
    runtime.tracer.label({ vm: 'penguin' }, () => {
      runtime.tracer.point('lease', 'wanted', 'hello');
      runtime.tracer.point('hook', 'wrong kind', 'hello');
    });
    runtime.tracer.point('lease', 'wrong vm', 'hello');
    await until(() => names.length > 0);
    stream.cancel();
    await reading;
    expect(names).toEqual(['wanted']);
    expect(await stream.result).toEqual({});
  });

  it('end with the signal', async () => {
    await serve();
    const c = await client();
    const abort = new AbortController();
    const stream = c.stream('events.subscribe', { pattern: 'a:*' }, { signal: abort.signal });
    const reading = (async () => {
      for await (const _ of stream) abort.abort();
    })();
    const ended = expect(reading).rejects.toMatchObject({ code: 'CORE_ERR_CANCELLED' });
    await until(() => {
      emit('a:b', 1);
      return abort.signal.aborted;
    });
    await ended;
  });

  it('leave out what a slow reader misses, say how much, and hold bounded memory meanwhile', async () => {
    await serve();
    const peer = keep(new RawPeer());
    peer.send({ type: 'request', v: 1, id: 1, method: 'events.subscribe', params: { pattern: 'big:*' } });
    await until(() => runtime.listenersOf('big:event') === 0 && peer.frames.length > 0);
    const text = 'x'.repeat(10_000);
    let sent = 0;
    const send = (): void => {
      sent += 1;
      emit('big:event', { sent, text });
    };
    await until(() => {
      send();
      return peer.frames.some((frame) => frame.type === 'item');
    });
    // It grants nothing: what arrives is bounded by the window, whatever is sent.
    while (sent < 20_000) {
      for (let i = 0; i < 500; i++) send();
      await setImmediate();
    }
    const arrived = (): number => peer.frames.filter((frame) => frame.type === 'item').length;
    await until(() => arrived() > 90);
    expect(arrived() * 10_000).toBeLessThan(1_200_000);
    // It reads on: the gap is told, and nothing is told twice or out of order.
    let last = 0;
    let missed = 0;
    let granted = 0;
    const data = (): { kind: string; count?: number; data?: { sent: number } }[] =>
      peer.frames.filter((frame) => frame.type === 'item').map((frame) => frame.data as never);
    await until(() => {
      const count = arrived();
      if (count > granted) {
        peer.send({ type: 'credit', v: 1, id: 1, bytes: (count - granted) * 12_000 });
        granted = count;
      }
      send();
      return data().some((item) => item.kind === 'dropped');
    });
    for (const item of data()) {
      if (item.kind === 'dropped') missed += item.count ?? 0;
      else {
        expect(item.data?.sent).toBeGreaterThan(last);
        expect((item.data?.sent ?? 0) - last - 1).toBe(missed);
        missed = 0;
        last = item.data?.sent ?? 0;
      }
    }
  });
});

describe('commands', () => {
  const terminal = { isTTY: true, columns: 120, rows: 40 };

  async function run(
    c: ControlClient,
    params: object,
    input?: AsyncIterable<Uint8Array>,
  ): Promise<[number, CommandItem[]]> {
    const items: CommandItem[] = [];
    const exit = await c.runCommand(
      { name: 'demo run', cwd: '/tmp', ...params },
      { item: (item) => void items.push(item), ...(input === undefined ? {} : { input }) },
    );
    return [exit, items];
  }

  it('write to the terminal at the other end and end with an exit code', async () => {
    await serve();
    const c = await client();
    runtime.commands.add(
      {
        name: 'demo run',
        summary: 'Runs',
        args: [{ name: 'what', summary: 'What', required: true, variadic: true }],
        options: {
          loud: { type: 'boolean', summary: 'Loud' },
          level: { type: 'number', summary: 'Level', default: 3 },
          tag: { type: 'string', summary: 'Tags', multiple: true },
        },
      },
      async ({ args, options, io }) => {
        await io.progress('working', 0.5);
        await io.out(`${args.join('+')} ${JSON.stringify(options)} ${io.cwd} ${io.terminal.columns}`);
        await io.err('careful');
        await io.write(new Uint8Array([0, 255]));
        void io.data({ size: 2n ** 60n });
        return 7;
      },
    );
    expect(await c.request('commands.list', {})).toMatchObject([{ name: 'demo run', plugin: 'runtime' }]);
    const [exit, items] = await run(c, { args: ['a', 'b'], options: { tag: ['x'] }, terminal });
    expect(exit).toBe(7);
    expect(items).toEqual([
      { kind: 'progress', stage: 'working', fraction: 0.5 },
      { kind: 'out', text: 'a+b {"loud":false,"level":3,"tag":["x"]} /tmp 120\n' },
      { kind: 'err', text: 'careful\n' },
      { kind: 'bytes', bytes: new Uint8Array([0, 255]) },
      { kind: 'data', value: { size: 2n ** 60n } },
    ]);
    await expect(run(c, { args: [] })).rejects.toMatchObject({ message: 'demo run: argument "what" is missing' });
    await expect(run(c, { args: ['a'], options: { levle: 1 } })).rejects.toMatchObject({
      code: 'CORE_ERR_COMMAND_USAGE',
      message: expect.stringContaining('did you mean "level"'),
    });
    await expect(run(c, { args: ['a'], options: { level: 'high' } })).rejects.toMatchObject({
      message: 'demo run: option "level" is not a number',
    });
    await expect(run(c, { name: 'demo walk' })).rejects.toMatchObject({ code: 'CORE_ERR_COMMAND_UNKNOWN' });
  });

  it('carry more than a window of input and output, without losing order', async () => {
    await serve();
    const c = await client();
    runtime.commands.add({ name: 'demo run', summary: 'Copies' }, async ({ io }) => {
      for await (const chunk of io.input) await io.write(chunk);
      await io.out('ü🙂'.repeat(200_000));
    });
    const total = 3_000_000;
    async function* source(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < total; at += 100_000) yield new Uint8Array(100_000).fill(at / 100_000);
    }
    const [exit, items] = await run(c, {}, source());
    expect(exit).toBe(0);
    const bytes = Buffer.concat(items.map((item) => (item.kind === 'bytes' ? item.bytes : Buffer.alloc(0))));
    expect(bytes).toHaveLength(total);
    expect(bytes.every((byte, i) => byte === Math.floor(i / 100_000))).toBe(true);
    const texts = items.map((item) => (item.kind === 'out' ? item.text : ''));
    expect(Buffer.concat(texts.map((text) => Buffer.from(text))).toString()).toBe(`${'ü🙂'.repeat(200_000)}\n`);
  });

  it('wait while the reader is slow, and read no more input than they asked for', async () => {
    await serve();
    const peer = keep(new RawPeer());
    let written = 0;
    runtime.commands.add({ name: 'demo run', summary: 'Writes' }, async ({ io }) => {
      for (;;) {
        await io.write(new Uint8Array(100_000));
        written += 100_000;
      }
    });
    peer.send({ type: 'request', v: 1, id: 5, method: 'commands.run', params: { name: 'demo run', cwd: '/' } });
    await until(() => written >= 700_000);
    for (let i = 0; i < 1000; i++) await setImmediate();
    // 1 MiB of frames is some 800 kB of bytes in base64, and one frame more.
    expect(written).toBeLessThan(1_000_000);
    peer.send({ type: 'credit', v: 1, id: 5, bytes: 1_000_000 });
    await until(() => written >= 1_400_000);
    // Input beyond the window ends the connection.
    for (let i = 0; i < 10; i++) {
      peer.send({ type: 'input', v: 1, id: 5, data: { $t: 'bytes', v: 'AAAA'.repeat(20_000) } });
    }
    const { error } = await peer.next('error');
    expect(error).toMatchObject({ code: 'CORE_ERR_WIRE', message: expect.stringContaining('without credit') });
    await peer.closed;
  });

  it('are cancelled by the signal, and may say a last word', async () => {
    await serve();
    const c = await client();
    const abort = new AbortController();
    runtime.commands.add({ name: 'demo run', summary: 'Waits' }, async ({ io, signal }) => {
      await io.out('waiting');
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await io.out('bye');
      return 130;
    });
    const texts: string[] = [];
    const exit = await c.runCommand(
      { name: 'demo run', cwd: '/' },
      {
        signal: abort.signal,
        item: (item) => {
          if (item.kind === 'out') texts.push(item.text);
          abort.abort();
        },
      },
    );
    expect([exit, texts]).toEqual([130, ['waiting\n', 'bye\n']]);
  });

  it('that ignore their cancelling are left to themselves', async () => {
    await serve({ limits: { cancelMs: 20 } });
    const c = await client();
    const abort = new AbortController();
    let io: CommandIo | undefined;
    runtime.commands.add({ name: 'demo run', summary: 'Hangs' }, (invocation) => {
      io = invocation.io;
      return new Promise<number>(() => {});
    });
    const running = c.runCommand({ name: 'demo run', cwd: '/' }, { signal: abort.signal, item: () => {} });
    await until(() => io !== undefined);
    abort.abort();
    await expect(running).rejects.toMatchObject({ code: 'CORE_ERR_CANCELLED' });
    await expect(io?.out('too late')).rejects.toMatchObject({ code: 'CORE_ERR_CANCELLED' });
  });

  it('learn of new sizes of the terminal, and write bytes to standard error', async () => {
    await serve();
    const c = await client();
    runtime.commands.add({ name: 'demo run', summary: 'Follows' }, async ({ io }) => {
      await io.writeErr(new Uint8Array([0, 255]));
      for await (const { columns, rows } of io.resizes) {
        await io.out(`${columns}x${rows}`);
        if (rows === 2) return 0;
      }
      return 1;
    });
    const sizes = new Latest<TerminalSize>();
    const items: CommandItem[] = [];
    const item = (one: CommandItem): void => {
      items.push(one);
      if (one.kind === 'err-bytes') sizes.set({ columns: 100, rows: 1 });
      if (one.kind === 'out') sizes.set({ columns: 65_535, rows: 2 });
    };
    expect(await c.runCommand({ name: 'demo run', cwd: '/' }, { item, resizes: sizes })).toBe(0);
    expect(items).toEqual([
      { kind: 'err-bytes', bytes: new Uint8Array([0, 255]) },
      { kind: 'out', text: '100x1\n' },
      { kind: 'out', text: '65535x2\n' },
    ]);
  });

  it('whose terminal has no size of one end their connection', async () => {
    await serve();
    const peer = keep(new RawPeer());
    peer.send({ type: 'resize', v: 1, id: 5, columns: 1, rows: 65_536 });
    expect(await peer.next('error')).toMatchObject({ error: { code: 'CORE_ERR_WIRE' } });
  });

  it('are aborted when the client goes away', async () => {
    await serve();
    const c = await client();
    let aborted = false;
    let inputEnded = false;
    runtime.commands.add({ name: 'demo run', summary: 'Waits' }, async ({ io, signal }) => {
      signal.addEventListener('abort', () => {
        aborted = true;
      });
      await io.out('here');
      for await (const _ of io.input);
      inputEnded = true;
    });
    const { promise: began, resolve: begin } = Promise.withResolvers<void>();
    const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
    const running = c.runCommand({ name: 'demo run', cwd: '/' }, { item: () => begin(), input: never });
    const lost = expect(running).rejects.toMatchObject({ code: 'CORE_ERR_CONTROL_CLOSED' });
    await began;
    await c[Symbol.asyncDispose]();
    await lost;
    await until(() => aborted && inputEnded);
  });
});

describe('peers', () => {
  const native = (uid: number): NativeHost => ({
    peerCredentials(fd) {
      expect(fd).toBeGreaterThan(2);
      return { pid: 1, uid, gid: uid };
    },
    pidfdOpen: () => -1,
    pidfdSignal: () => false,
    onReadable: () => ({ [Symbol.dispose]: () => {} }),
    dieWithParent: () => {},
  });

  it('of the same user and of root are let in, others are not', async () => {
    const server = await serve({ native: native(process.getuid?.() ?? 0) });
    await (await client()).request('ping', {});
    await server[Symbol.asyncDispose]();
    const another = await serve({ native: native(64_999) });
    await expect(connect({ path })).rejects.toMatchObject({
      code: 'CORE_ERR_PERMISSION',
      message: expect.stringContaining('user 64999 may not'),
    });
    await until(() => another.connections === 0);
  });

  it('whose user cannot be told are not let in', async () => {
    const blind: NativeHost = {
      ...native(0),
      peerCredentials() {
        throw new Error('ENOTSOCK');
      },
    };
    await serve({ native: blind });
    await expect(connect({ path })).rejects.toMatchObject({ code: 'CORE_ERR_PERMISSION' });
  });

  it('that speak another version are told which one is spoken', async () => {
    await serve();
    const peer = keep(new RawPeer());
    expect(await peer.next('hello')).toMatchObject({ v: 1, instance: 'fake' });
    peer.send({ type: 'request', v: 2, id: 1, method: 'ping' });
    expect((await peer.next('error')).error).toMatchObject({
      code: 'CORE_ERR_CONTROL_VERSION',
      message: expect.stringContaining('this runtime speaks 1'),
    });
    await peer.closed;
  });

  it('that send garbage end their own connection only', async () => {
    await serve();
    const good = await client();
    for (const garbage of [
      'nonsense\n',
      '{"type":"dance","v":1}\n',
      '{"type":"request","v":1,"id":0,"method":"ping"}\n',
      '\0\n',
    ]) {
      const peer = keep(new RawPeer());
      peer.socket.write(garbage);
      expect((await peer.next('error')).error).toMatchObject({ code: 'CORE_ERR_WIRE' });
      await peer.closed;
    }
    expect(await good.request('ping', {})).toEqual({ instance: 'fake' });
  });

  it('that send half a frame are let go after a while, and not before', async () => {
    await serve({ limits: { frameMs: 50 } });
    const peer = keep(new RawPeer());
    peer.socket.write('{"type":"request",');
    expect((await peer.next('error')).error).toMatchObject({ message: expect.stringContaining('more than 50 ms') });
    await peer.closed;
    const slow = keep(new RawPeer());
    slow.socket.write('{"type":"request",');
    slow.socket.write('"v":1,"id":9,"method":"ping"}\n');
    expect(await slow.next('result')).toMatchObject({ id: 9 });
  });

  it('that end in the middle of a frame leave nothing behind', async () => {
    const server = await serve();
    const peer = keep(new RawPeer());
    await peer.next('hello');
    peer.socket.end('{"type":');
    await peer.closed;
    await until(() => server.connections === 0);
  });

  it('may have only so many requests under way, and so many connections', async () => {
    const server = await serve({ limits: { requests: 2, connections: 1 } });
    const peer = keep(new RawPeer());
    for (const id of [1, 2, 3]) {
      peer.send({ type: 'request', v: 1, id, method: 'events.subscribe', params: { pattern: 'x:*' } });
    }
    expect(await peer.next('error')).toMatchObject({
      id: 3,
      error: { code: 'CORE_ERR_CONTROL_LIMIT', retryable: true },
    });
    peer.send({ type: 'cancel', v: 1, id: 1 });
    expect(await peer.next('result')).toMatchObject({ id: 1 });
    peer.send({ type: 'request', v: 1, id: 4, method: 'ping' });
    expect(await peer.next('result')).toMatchObject({ id: 4 });
    await expect(connect({ path })).rejects.toMatchObject({ code: 'CORE_ERR_CONTROL_LIMIT' });
    expect(server.connections).toBe(1);
  });

  it('may not use the number of a request that is under way', async () => {
    await serve();
    const peer = keep(new RawPeer());
    const request = { type: 'request', v: 1, id: 1, method: 'events.subscribe', params: { pattern: 'x:*' } };
    peer.send(request);
    peer.send(request);
    expect((await peer.next('error')).error).toMatchObject({
      message: expect.stringContaining('request 1 is still under way'),
    });
  });

  it('that send too much are read later, not refused', async () => {
    let now = 0;
    const timers: { readonly ms: number; readonly fn: () => void }[] = [];
    const clock: Clock = {
      now: () => now,
      after(ms, fn) {
        timers.push({ ms, fn });
        return { [Symbol.dispose]: () => {} };
      },
    };
    await serve({ clock, limits: { messagesPerSecond: 200 } });
    const peer = keep(new RawPeer());
    const results = (): number => peer.frames.filter((frame) => frame.type === 'result').length;
    const ping = (id: number): void => peer.send({ type: 'request', v: 1, id, method: 'ping' });
    for (let id = 1; id <= 201; id++) {
      ping(id);
      await until(() => results() === id);
    }
    // One more than allowed was read; the next is read when the clock says so.
    expect(timers.map(({ ms }) => ms)).toEqual([5]);
    ping(202);
    for (let i = 0; i < 100; i++) await setImmediate();
    expect(results()).toBe(201);
    now += 1000;
    timers[0]?.fn();
    await until(() => results() === 202);
  });
});

it('a server that hangs is noticed by its client', async () => {
  const { createServer } = await import('node:net');
  const mute = createServer((socket) => {
    socket.on('error', () => {}).resume();
    socket.write(encodeFrame({ type: 'hello', v: 1, version: '1', instance: 'mute', pid: 1 }));
  });
  await new Promise<void>((resolve) => mute.listen(path, resolve));
  open.push({ [Symbol.asyncDispose]: () => new Promise((resolve) => mute.close(() => resolve())) });
  const c = await client({ timeouts: { silenceMs: 60 } });
  const stream = c.stream('events.subscribe', { pattern: 'x:*' });
  await expect(stream.result).rejects.toMatchObject({
    code: 'CORE_ERR_CONTROL_CLOSED',
    cause: expect.objectContaining({ code: 'CORE_ERR_CONTROL_DEADLINE' }),
  });
});

it('a server of another version is not talked to', async () => {
  const { createServer } = await import('node:net');
  const future = createServer((socket) => {
    socket.on('error', () => {});
    socket.write(encodeFrame({ type: 'hello', v: 2, version: '9', instance: 'future', pid: 1 }));
  });
  await new Promise<void>((resolve) => future.listen(path, resolve));
  open.push({ [Symbol.asyncDispose]: () => new Promise((resolve) => future.close(() => resolve())) });
  await expect(connect({ path })).rejects.toMatchObject({ code: 'CORE_ERR_CONTROL_VERSION' });
});
