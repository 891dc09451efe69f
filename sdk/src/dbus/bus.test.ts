import { execFile, spawnSync } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, readdirSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { memfdCreate } from '../linux/index.ts';
import { defineErrors, isRuntimeError } from '../public-errors.ts';
import { hasDbusDaemon, type PrivateBus, startPrivateBus } from '../testing/private-bus.ts';
import {
  type Bus,
  type BusLimits,
  connectBus,
  DBUS_ERRORS,
  DBusError,
  type ExportedInterface,
  isRemoteError,
  type MethodHandler,
  type Value,
  variant,
} from './index.ts';

const run = promisify(execFile);
/** Of systemd. */
const hasBusctl = spawnSync('busctl', ['--version'], { stdio: 'ignore' }).status === 0;
const NAME = 'org.example.Test';
const PATH = '/org/example/Test';
const coded = (code: string) => expect.toSatisfy((e: unknown) => isRuntimeError(e, code));
const remote = (name: string) => expect.toSatisfy((e: unknown) => isRemoteError(e, name));
const errors = defineErrors({ TEST_ERR_DISK_FULL: { message: '{disk} is full', remedy: 'Remove something.' } });

const openFds = (): string[] =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      readFileSync(`/proc/self/fdinfo/${fd}`);
      return true;
    } catch {
      return false;
    }
  });

describe.runIf(hasDbusDaemon())('on a real bus', () => {
  let daemon: PrivateBus;
  let server: Bus;
  let client: Bus;
  let before = 0;

  async function connect(limits: BusLimits = {}): Promise<Bus> {
    return connectBus({ bus: daemon.address, limits });
  }

  beforeEach(async () => {
    // What is opened once stays open.
    await connectBus({ bus: 'unix:path=/nowhere/at/all' }).catch(() => {});
    daemon = await startPrivateBus();
    before = openFds().length;
    server = await connect();
    client = await connect();
  });
  afterEach(async () => {
    await Promise.all([server.close(), client.close()]);
    // That of a daemon which a test has ended is closed as well.
    const after = openFds().length;
    await daemon[Symbol.asyncDispose]();
    expect(after).toBeLessThanOrEqual(before);
  });

  /** An object with one method of each signature. */
  function serve(methods: Record<string, readonly [input: string, output: string, MethodHandler]>): void {
    const args = (types: string) => (types === '' ? [] : types.split(' ').map((type, i) => [`a${i}`, type] as const));
    const exported: ExportedInterface = {
      spec: {
        methods: Object.fromEntries(
          Object.entries(methods).map(([name, [input, output]]) => [name, { in: args(input), out: args(output) }]),
        ),
        signals: { Happened: [['what', 's']] },
        properties: { Mood: { type: 's', access: 'readwrite' }, Age: { type: 'u', access: 'read' } },
      },
      methods: Object.fromEntries(Object.entries(methods).map(([name, [, , handler]]) => [name, handler])),
      get: (property) => (property === 'Age' ? 7 : 'good'),
      set: (_, value) => {
        if (value !== 'better') throw new DBusError(DBUS_ERRORS.invalidArgs, 'no such mood');
      },
    };
    server.exportObject(PATH, { [NAME]: exported });
  }
  const call = (member: string, signature = '', args: readonly Value[] = [], more = {}) =>
    client.call({ service: server.uniqueName, path: PATH, interface: NAME, member, signature, args, ...more });

  test('calls are answered, with who called', async () => {
    serve({ Add: ['i i', 'i s', ([a, b], { sender }) => [(a as number) + (b as number), sender]] });
    expect((await call('Add', 'ii', [2, 3])).values).toEqual([5, client.uniqueName]);
  });

  test.runIf(hasBusctl)('it looks right to busctl', async () => {
    serve({ Add: ['i i', 'i', ([a, b]) => [(a as number) + (b as number)]] });
    await server.requestName(NAME);
    const busctl = (...args: string[]) => run('busctl', [`--address=${daemon.address}`, ...args]);
    const { stdout } = await busctl('introspect', NAME, PATH);
    expect(stdout).toMatch(/\.Add\s+method\s+ii\s+i/);
    expect(stdout).toMatch(/\.Happened\s+signal\s+s/);
    expect(stdout).toMatch(/\.Mood\s+property\s+s\s+"good"/);
    expect((await busctl('call', NAME, PATH, NAME, 'Add', 'ii', '20', '22')).stdout).toBe('i 42\n');
    expect((await busctl('tree', NAME)).stdout).toContain('/org/example/Test');
    await busctl('set-property', NAME, PATH, NAME, 'Mood', 's', 'better');
    await expect(busctl('set-property', NAME, PATH, NAME, 'Mood', 's', 'worse')).rejects.toThrow('no such mood');
    await expect(busctl('set-property', NAME, PATH, NAME, 'Age', 'u', '1')).rejects.toThrow();
  });

  test('errors keep their names', async () => {
    const failing = (e: unknown): MethodHandler => {
      return async () => {
        throw e;
      };
    };
    serve({
      Coded: ['', '', failing(errors.TEST_ERR_DISK_FULL({ details: { disk: 'a' } }))],
      Own: ['', '', failing(new DBusError(DBUS_ERRORS.notSupported, 'not here'))],
      Bug: ['', '', failing(new Error('oops\0'))],
      Wrong: ['', 'i', () => ['no number']],
    });
    await expect(call('Coded')).rejects.toThrow('org.chromium.Runtime.Error.DiskFull: a is full. Remove something.');
    await expect(call('Own')).rejects.toThrow(remote(DBUS_ERRORS.notSupported));
    await expect(call('Bug')).rejects.toThrow('oops');
    await expect(call('Wrong')).rejects.toThrow('is not an integer');
    await expect(call('Missing')).rejects.toThrow(remote(DBUS_ERRORS.unknownMethod));
    await expect(call('Coded', 's', ['x'])).rejects.toThrow(remote(DBUS_ERRORS.invalidArgs));
    await expect(call('Coded', '', [], { path: '/else' })).rejects.toThrow(remote(DBUS_ERRORS.unknownObject));
    await expect(call('Coded', '', [], { interface: 'a.b' })).rejects.toThrow(remote(DBUS_ERRORS.unknownInterface));
    await expect(call('Coded', '', [], { service: 'a.b' })).rejects.toThrow(remote(DBUS_ERRORS.serviceUnknown));
    await expect(call('Coded', '', [], { returns: 's' })).rejects.toThrow(
      remote('org.chromium.Runtime.Error.DiskFull'),
    );
    expect(() => serve({ 'No-Name': ['', '', () => []] })).toThrow(coded('SDK_ERR_DBUS_VALUE'));
  });

  test('descriptors go there and back', async () => {
    serve({
      Swap: [
        'ah',
        'h',
        ([fds], { take }) => {
          const [first = -1] = fds as number[];
          const answer = memfdCreate('answer', { size: 16 });
          writeSync(answer, readText(take(first)), 0);
          closeSync(first);
          return { values: [answer], close: [answer] };
        },
      ],
    });
    const mine = memfdCreate('mine', { size: 16 });
    const other = memfdCreate('other', { size: 16 });
    writeSync(mine, 'from the client', 0);
    const answered = call('Swap', 'ah', [[mine, other]]);
    closeSync(mine);
    closeSync(other);
    const { values, fds } = await answered;
    expect(values).toEqual(fds);
    expect(readText(fds[0] as number)).toBe('from the client');
    for (const fd of fds) closeSync(fd);
  });

  test('descriptors that nobody takes are closed', async () => {
    serve({
      Ignore: ['ah', '', () => []],
      Fail: [
        'ah',
        '',
        () => {
          throw new Error('no');
        },
      ],
    });
    const memory = memfdCreate('memory', { size: 16 });
    const count = openFds().length;
    for (let i = 0; i < 20; i++) {
      await call('Ignore', 'ah', [[memory, memory, memory]]);
      await expect(call('Fail', 'ah', [[memory, memory]])).rejects.toThrow('no');
      await expect(call('Missing', 'ah', [[memory, memory]])).rejects.toThrow();
      await expect(call('Ignore', 'h', [memory])).rejects.toThrow(remote(DBUS_ERRORS.invalidArgs));
    }
    await expect(call('Ignore', 'ah', [Array(65).fill(memory)])).rejects.toThrow(remote(DBUS_ERRORS.limitsExceeded));
    expect(openFds().length).toBe(count);
    closeSync(memory);
  });

  test('big messages arrive whole', async () => {
    serve({ Echo: ['ay', 'ay', ([bytes]) => [bytes as Uint8Array]] });
    const bytes = Buffer.alloc(8 * 2 ** 20);
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(i, i);
    const { values } = await call('Echo', 'ay', [bytes]);
    expect(Buffer.compare(values[0] as Buffer, bytes)).toBe(0);
    // Larger than the server takes: answered, and it stays on the bus.
    await expect(call('Echo', 'ay', [Buffer.alloc(17 * 2 ** 20)])).rejects.toThrow(remote(DBUS_ERRORS.limitsExceeded));
    expect((await call('Echo', 'ay', [Buffer.from('x')])).values).toEqual([Buffer.from('x')]);
  });

  test('descriptors of what is passed over are not taken for those of the next message', async () => {
    serve({ Size: ['ay ah', 't', ([, fds]) => [BigInt(fstatSync((fds as number[])[0] as number).size)]] });
    const [small, large] = [memfdCreate('small', { size: 100 }), memfdCreate('large', { size: 5000 })];
    const tooLong = call('Size', 'ayah', [Buffer.alloc(17 * 2 ** 20), [small, small]]);
    const path = `/${'a'.repeat(17 * 2 ** 20)}`;
    const nowhere = call('Size', 'ayah', [Buffer.alloc(1), [small, small]], { path });
    const fine = call('Size', 'ayah', [Buffer.alloc(1), [large]]);
    await expect(tooLong).rejects.toThrow(remote(DBUS_ERRORS.limitsExceeded));
    await expect(nowhere).rejects.toThrow(remote(DBUS_ERRORS.limitsExceeded));
    expect((await fine).values).toEqual([5000n]);
    closeSync(small);
    closeSync(large);
  });

  test('1,000 calls at once', async () => {
    await server.close();
    server = await connect({ maxCallsPerSender: 1000 });
    serve({
      Later: [
        'u',
        'u',
        async ([n]) => {
          await new Promise((resolve) => setTimeout(resolve, (n as number) % 7));
          return [n as number];
        },
      ],
    });
    const answers = await Promise.all(Array.from({ length: 1000 }, (_, i) => call('Later', 'u', [i])));
    expect(answers.map(({ values }) => values[0])).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  });

  test('a caller may not have too many calls open', async () => {
    const open = Promise.withResolvers<void>();
    serve({ Wait: ['', '', () => open.promise] });
    const calls = Array.from({ length: 130 }, () => call('Wait'));
    const results = Promise.allSettled(calls);
    await expect(calls[129]).rejects.toThrow(remote(DBUS_ERRORS.limitsExceeded));
    open.resolve();
    expect((await results).filter(({ status }) => status === 'rejected')).toHaveLength(2);
    await call('Wait');
    await client.close();
    client = await connect({ maxPendingCalls: 1 });
    const first = call('Wait');
    await expect(call('Wait')).rejects.toThrow(coded('SDK_ERR_DBUS_LIMIT'));
    await first;
  });

  test('calls end in time, or when their caller wants it', async () => {
    serve({ Wait: ['', '', () => new Promise(() => {})] });
    await expect(call('Wait', '', [], { timeoutMs: 50 })).rejects.toThrow(coded('SDK_ERR_DBUS_TIMEOUT'));
    await expect(call('Wait', '', [], { signal: AbortSignal.abort(new Error('early')) })).rejects.toThrow('early');
    const abort = new AbortController();
    const waiting = call('Wait', '', [], { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });

  test('a handler is told when its caller has left', async () => {
    const left = Promise.withResolvers<void>();
    const called = Promise.withResolvers<void>();
    serve({
      Wait: [
        '',
        '',
        async (_, { signal }) => {
          called.resolve();
          signal.addEventListener('abort', () => left.resolve());
          await left.promise;
        },
      ],
    });
    const waiting = call('Wait');
    await called.promise;
    await client.close();
    await expect(waiting).rejects.toThrow(coded('SDK_ERR_DBUS_CLOSED'));
    await left.promise;
  });

  test('when the bus dies, calls are rejected and everybody is told', async () => {
    serve({ Wait: ['', '', () => new Promise(() => {})] });
    const waiting = [call('Wait'), call('Wait')];
    const results = Promise.allSettled(waiting);
    await call('Missing').catch(() => {});
    await daemon.kill();
    for (const one of await results) expect(one).toMatchObject({ reason: { code: 'SDK_ERR_DBUS_CLOSED' } });
    expect(await client.closed).toMatchObject({ code: 'SDK_ERR_DBUS_CLOSED', retryable: true });
    expect(await server.closed).toMatchObject({ code: 'SDK_ERR_DBUS_CLOSED' });
    await expect(call('Wait')).rejects.toThrow(coded('SDK_ERR_DBUS_CLOSED'));
    expect(() => server.emit({ path: PATH, interface: NAME, member: 'Happened' })).toThrow('has ended');
  });

  test('names: taken, queued, lost', async () => {
    const lost = vi.fn();
    const acquired = vi.fn();
    const first = await server.requestName(NAME, { allowReplacement: true, onLost: lost });
    await expect(client.requestName(NAME)).rejects.toThrow(coded('SDK_ERR_DBUS_NAME_TAKEN'));
    const second = await client.requestName(NAME, { queue: true, onAcquired: acquired });
    expect([first.isOwned, second.isOwned]).toEqual([true, false]);
    await first.release();
    await vi.waitFor(() => expect(acquired).toHaveBeenCalledOnce());
    expect(second.isOwned).toBe(true);
    await second.release();
    const third = await server.requestName(NAME, { allowReplacement: true, onLost: lost });
    await client.requestName(NAME, { replace: true });
    await vi.waitFor(() => expect(lost).toHaveBeenCalledOnce());
    expect(third.isOwned).toBe(false);
    await expect(client.requestName('no name')).rejects.toThrow(coded('SDK_ERR_DBUS_VALUE'));
    await expect(client.requestName('org.freedesktop.DBus')).rejects.toThrow(coded('SDK_ERR_DBUS_REMOTE'));
  });

  test('signals reach those who want them, from whom they want', async () => {
    await server.requestName(NAME);
    const seen: unknown[] = [];
    const everything: unknown[] = [];
    const rule = { sender: NAME, interface: NAME, member: 'Happened' };
    const one = await client.subscribe(rule, ({ values }) => seen.push(values[0]), { signature: 's' });
    await client.subscribe({ interface: NAME }, ({ values }) => everything.push(values[0]));
    const emit = (from: Bus, value: Value, signature = 's') =>
      from.emit({ path: PATH, interface: NAME, member: 'Happened', signature, values: [value] });
    const stranger = await connect();
    emit(server, 'first');
    emit(server, 5, 'u');
    emit(stranger, 'a lie');
    await vi.waitFor(() => expect(everything).toHaveLength(3));
    expect(seen).toEqual(['first']);
    await one[Symbol.asyncDispose]();
    emit(server, 'second');
    await vi.waitFor(() => expect(everything).toHaveLength(4));
    expect(seen).toEqual(['first']);
    await stranger.close();
  });

  test('what is not wanted any more is not sent any more', async () => {
    const rules = async (): Promise<unknown> => {
      const { values } = await client.call({
        ...{ service: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', member: 'GetConnectionStats' },
        ...{ interface: 'org.freedesktop.DBus.Debug.Stats', signature: 's', args: [client.uniqueName] },
      });
      return (values[0] as ReadonlyMap<string, unknown>).get('MatchRules');
    };
    const count = await rules();
    const subscribe = (i: number) =>
      client.subscribe({ interface: NAME, sender: NAME, arg0: `it's ${i % 2}` }, () => {});
    const all = await Promise.all(Array.from({ length: 50 }, (_, i) => subscribe(i)));
    expect(await rules()).not.toEqual(count);
    await Promise.all(all.map((one) => one[Symbol.asyncDispose]()));
    expect(await rules()).toEqual(count);
  });

  test('listeners that throw do not stop the others', async () => {
    const problems: unknown[] = [];
    const listening = await connectBus({ bus: daemon.address, onProblem: (e) => problems.push(e) });
    const seen = vi.fn();
    await listening.subscribe({ interface: NAME }, () => {
      throw new Error('mine');
    });
    await listening.subscribe({ interface: NAME }, seen);
    server.emit({ path: PATH, interface: NAME, member: 'Happened' });
    await vi.waitFor(() => expect(seen).toHaveBeenCalledOnce());
    expect(problems).toEqual([expect.objectContaining({ message: 'mine' })]);
    await listening.close();
  });

  test('callers are known by their user', async () => {
    expect(await server.credentialsOf(client.uniqueName)).toEqual({ uid: process.getuid?.(), pid: process.pid });
    await expect(server.credentialsOf(':1.999')).rejects.toThrow(remote(DBUS_ERRORS.nameHasNoOwner));
  });

  test('variants and dictionaries', async () => {
    serve({ Echo: ['a{sv}', 'a{sv}', ([map]) => [map as Value]] });
    const map = new Map<Value, Value>([['list', variant('as', ['a', 'b'])]]);
    expect((await call('Echo', 'a{sv}', [map])).values).toEqual([map]);
  });
});

function readText(fd: number): string {
  const bytes = Buffer.alloc(16);
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, 15, 0));
}

describe('on a bus that lies', () => {
  let folder: string;
  let server: Server;
  let bus: string;
  let onMessages: (socket: Socket) => void;
  let greeting = 'OK 0123456789abcdef0123456789abcdef\r\n';

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'lying-bus-'));
    bus = `unix:path=${join(folder, 'bus')}`;
    greeting = 'OK 0123456789abcdef0123456789abcdef\r\n';
    onMessages = () => {};
    server = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (chunk) => {
        const text = chunk.toString('latin1');
        if (text.includes('AUTH')) socket.write(greeting);
        if (text.includes('NEGOTIATE')) socket.write('AGREE_UNIX_FD\r\n');
        if (text.includes('Hello')) onMessages(socket);
      });
    });
    await new Promise<void>((resolve) => server.listen(join(folder, 'bus'), resolve));
  });
  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });

  const sends = (hex: string) => (socket: Socket) => void socket.write(Buffer.from(hex, 'hex'));

  test.each([
    ['garbage', 'ff'.repeat(64)],
    ['a message of 4 GiB', '6c020001ffffffff01000000ffffffff'],
    ['another version', `6c020002${'00'.repeat(12)}`],
    ['fields of random bytes', `6c0200010000000001000000100000000${'5'.repeat(31)}`],
    ['an answer that names none', '6c020001000000000100000000000000'],
    ['descriptors that do not come', '6c02000100000000010000001000000005017500010000000901750003000000'],
  ])('%s ends the connection with a code', async (_, hex) => {
    const before = openFds().length;
    onMessages = sends(hex);
    await expect(connectBus({ bus, timeoutMs: 2000 })).rejects.toThrow(coded('SDK_ERR_DBUS_CONNECT'));
    await vi.waitFor(() => expect(openFds().length).toBeLessThanOrEqual(before));
  });

  test('silence, refusal and endless lines', async () => {
    await expect(connectBus({ bus, timeoutMs: 100 })).rejects.toThrow('does not answer within 100 ms');
    greeting = 'REJECTED EXTERNAL\r\n';
    await expect(connectBus({ bus })).rejects.toThrow('REJECTED');
    greeting = 'x'.repeat(5000);
    await expect(connectBus({ bus })).rejects.toThrow('does not end');
    await expect(connectBus({ bus, signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no');
  });

  test('addresses that are none', async () => {
    await expect(connectBus({ bus: 'tcp:host=localhost,port=1' })).rejects.toThrow(coded('SDK_ERR_DBUS_ADDRESS'));
    await expect(connectBus({ bus: 'unix:path=%zz' })).rejects.toThrow(coded('SDK_ERR_DBUS_ADDRESS'));
    await expect(connectBus({ bus: 'unix:path=/nowhere/bus' })).rejects.toThrow(coded('SDK_ERR_DBUS_CONNECT'));
  });
});
