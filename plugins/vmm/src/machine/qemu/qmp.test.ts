import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ExitWitness } from './exit-reasons.ts';
import { LineSplitter } from './line-splitter.ts';
import { MAX_QMP_LINE, QmpClient, type QmpEvent } from './qmp.ts';
import { parseQmp } from './qmp-messages.ts';

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n';
const at = '"timestamp": {"seconds": 1, "microseconds": 2}';

let folder = '';
let server: Server;
let qemu: Socket | undefined;
const opened: QmpClient[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qmp-'));
});
afterEach(() => {
  for (const client of opened.splice(0)) client[Symbol.dispose]();
  qemu?.destroy();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Seen {
  readonly events: QmpEvent[];
  readonly closed: string[];
}

/** A QEMU that answers each line with what `answer` gives. */
async function connect(answer: (command: { execute: string; id: number }) => string, greeting = GREETING) {
  const path = join(folder, 'qmp.sock');
  server = createServer((socket) => {
    qemu = socket;
    socket.on('error', () => {});
    socket.write(greeting);
    let rest = '';
    socket.on('data', (bytes) => {
      const lines = (rest + bytes).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) socket.write(answer(JSON.parse(line)));
    });
  }).listen(path);
  await new Promise((resolve) => server.once('listening', resolve));
  const seen: Seen = { events: [], closed: [] };
  const client = await QmpClient.connect(path, {
    vm: 'dev',
    greetMs: 300,
    onEvent: (event) => seen.events.push(event),
    onClose: (why) => seen.closed.push(why),
  });
  opened.push(client);
  return { client, ...seen };
}

const agree = ({ id }: { id: number }): string => `{"return": {}, "id": ${id}}\r\n`;

describe('the client', () => {
  test('greets, and gets answers and events in any order', async () => {
    const { client, events } = await connect(({ execute, id }) =>
      execute === 'query-status'
        ? `{"event": "RESUME", ${at}}\r\n{"return": {"running": true}, "id": ${id}}\r\n`
        : agree({ id }),
    );
    const [status, other] = await Promise.all([client.execute('query-status'), client.execute('cont')]);
    expect([status, other]).toEqual([{ running: true }, {}]);
    expect(events).toEqual([{ event: 'RESUME', data: {} }]);
  });

  test('an error names the command', async () => {
    const { client } = await connect(({ execute, id }) =>
      execute === 'device_del'
        ? `{"error": {"class": "DeviceNotFound", "desc": "not found"}, "id": ${id}}\n`
        : agree({ id }),
    );
    await expect(client.execute('device_del', { id: 'x' })).rejects.toThrow('did not carry out device_del: not found');
  });

  test('a command without an answer ends by its deadline', async () => {
    const { client } = await connect(({ execute, id }) => (execute === 'quit' ? '' : agree({ id })));
    await expect(client.execute('quit', {}, { timeoutMs: 30 })).rejects.toThrow('no answer within 30 ms');
    expect(await client.execute('cont')).toEqual({});
  });

  test('the end of QEMU ends what waits', async () => {
    const { client, closed } = await connect(({ execute, id }) => (execute === 'quit' ? '' : agree({ id })));
    const waiting = client.execute('quit');
    qemu?.destroy();
    await expect(waiting).rejects.toThrow('VM "dev"');
    expect(closed.length).toBe(1);
    await expect(client.execute('cont')).rejects.toThrow('the connection has ended');
  });

  test.each([
    ['no JSON', 'nonsense\n', 'no QMP message'],
    ['a line without end', 'x'.repeat(MAX_QMP_LINE + 10), 'more than 1048576 bytes'],
    ['an event that is none', '{"event": 5}\n', 'no QMP message'],
  ])('%s ends the connection', async (_name, bytes, why) => {
    const { closed, client } = await connect(agree);
    qemu?.write(bytes);
    while (closed.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(closed[0]).toContain(why);
    expect(client.closed).toBe(true);
  });

  test('a greeting that does not come ends the connection', async () => {
    await expect(connect(agree, '')).rejects.toThrow('no answer within 300 ms');
  });

  test('commands that wait are bounded', async () => {
    const { client } = await connect(({ execute, id }) => (execute === 'stop' ? '' : agree({ id })));
    const waiting = Array.from({ length: 64 }, () => client.execute('stop').catch((e: Error) => e.message));
    await expect(client.execute('stop')).rejects.toThrow('64 commands wait already');
    client[Symbol.dispose]();
    expect(new Set(await Promise.all(waiting)).size).toBe(1);
  });
});

test('lines are put together again, whatever the pieces', () => {
  const text = 'a\n\nbcd\nef';
  for (let size = 1; size <= text.length; size++) {
    const splitter = new LineSplitter(10);
    const lines: string[] = [];
    for (let from = 0; from < text.length; from += size) {
      lines.push(...(splitter.push(Buffer.from(text.slice(from, from + size))) ?? []));
    }
    expect(lines).toEqual(['a', '', 'bcd']);
  }
  expect(new LineSplitter(3).push(Buffer.from('abcd\n'))).toBeUndefined();
  expect(new LineSplitter(3).push(Buffer.from('abc\nabc'))).toEqual(['abc']);
});

test('whatever QEMU says, it is a message or refused', () => {
  const messages = [
    GREETING,
    `{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}, ${at}}`,
    '{"return": {"a": [1, {"b": null}]}, "id": 7}',
    '{"error": {"class": "GenericError", "desc": "x"}, "id": 1}',
  ];
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const kinds = new Set<string | undefined>();
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(messages[random(messages.length)] as string);
    for (let n = random(4); n > 0; n--) bytes[random(bytes.length)] = random(256);
    kinds.add(parseQmp(bytes.subarray(0, random(2) === 0 ? bytes.length : random(bytes.length)).toString())?.kind);
  }
  expect(kinds.has(undefined)).toBe(true);
  expect([...kinds].filter((kind) => kind !== undefined).sort()).toEqual(['error', 'event', 'greeting', 'return']);
});

describe('the reason of the end', () => {
  const conclude = (events: readonly [string, object?][], code: number | null, asked = false) => {
    const witness = new ExitWitness();
    for (const [event, data = {}] of events) witness.hear({ event, data: data as Record<string, unknown> });
    return witness.conclude({ code, signal: code === null ? 'SIGSEGV' : null }, asked).reason;
  };

  test.each([
    [[['SHUTDOWN', { reason: 'guest-shutdown' }]], 0, 'guest-shutdown'],
    [[['SHUTDOWN', { reason: 'guest-reset' }]], 0, 'guest-reset'],
    [
      [
        ['GUEST_PANICKED', {}],
        ['SHUTDOWN', { reason: 'guest-reset' }],
      ],
      0,
      'guest-panic',
    ],
    [[['SHUTDOWN', { reason: 'host-qmp-quit' }]], 0, 'stopped'],
    [[['SHUTDOWN', { reason: 'something new' }]], 0, 'guest-shutdown'],
    [[], 1, 'crashed'],
    [[], null, 'crashed'],
  ] as const)('%j and exit code %j: %s', (events, code, reason) => {
    expect(conclude(events as never, code)).toBe(reason);
  });

  test('somebody stopped it', () => {
    expect(conclude([], null, true)).toBe('stopped');
  });
});
