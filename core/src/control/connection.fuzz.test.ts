import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { systemClock } from '../clock.ts';
import { FrameDecoder } from '../wire/frames.ts';
import { ControlConnection, type PeerSocket } from './connection.ts';
import { createFakeHost, createFakeRuntime, silentLog } from './fake-runtime.ts';
import { CONTROL_LIMITS, parseServerMessage } from './protocol.ts';

/** Takes what the server writes and checks that a client could read it. */
class RecordingSocket {
  readonly types: string[] = [];
  ended = false;
  readonly writableLength: number = 0;
  readonly #decoder = new FrameDecoder();

  write(frame: string): boolean {
    this.#decoder.push(Buffer.from(frame), (message) => this.types.push(parseServerMessage(message).type));
    return true;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {}
  pause(): void {}
  resume(): void {}
  on(): void {}
}

const SEEDS = [
  '{"type":"request","v":1,"id":7,"method":"ping"}\n',
  '{"type":"request","v":1,"id":7,"method":"plugin.info","params":{"name":"hello"}}\n',
  '{"type":"request","v":1,"id":8,"method":"commands.run","params":{"name":"echo","args":["a"],"options":{"n":1},"cwd":"/"}}\n{"type":"input","v":1,"id":8,"data":{"$t":"bytes","v":"aGk="}}\n{"type":"resize","v":1,"id":8,"columns":80,"rows":24}\n{"type":"input-end","v":1,"id":8}\n',
  '{"type":"request","v":1,"id":9,"method":"events.subscribe","params":{"pattern":"vm:*","replay":3}}\n{"type":"credit","v":1,"id":9,"bytes":100}\n{"type":"cancel","v":1,"id":9}\n',
  '{"type":"request","v":1,"id":1,"method":"trace.subscribe","params":{"kind":"lease","vm":"x"}}\n',
  '{"type":"request","v":1,"id":1,"method":"trace.why","params":{"id":3}}\n',
  '{"type":"request","v":1,"id":1,"method":"plugin.enable","params":{"spec":"./x"}}\n',
  '{"type":"request","v":1,"id":1,"method":"status","params":{}}\n{"type":"request","v":1,"id":2,"method":"stop","params":{"reason":"r"}}\n',
];
const TOKENS = [
  '"id":8,',
  '"v":2',
  '-1',
  '1e99',
  'null',
  '[]',
  '{}',
  '"__proto__":{},',
  '"cancel"',
  '"input"',
  '"credit"',
  '"commands.run"',
  '\n',
  '{"$t":"undefined"}',
];

it('100,000 mutated messages end at worst their connection, with an answer that a client can read', {
  timeout: 60_000,
}, async () => {
  const runtime = createFakeRuntime();
  const spec = {
    name: 'echo',
    summary: 'Echo',
    args: [{ name: 'a', summary: 'A' }],
    options: { n: { type: 'number', summary: 'N' } },
  } as const;
  runtime.commands.add(spec, async ({ io }) => {
    for await (const chunk of io.input) await io.write(chunk);
  });
  const hello = { type: 'hello', v: 1, version: '0', instance: 'fake', pid: 1 } as const;
  const deps = { runtime, host: createFakeHost(), hello, limits: CONTROL_LIMITS, clock: systemClock, log: silentLog };
  // A fixed seed: a failure can be repeated.
  let state = 0x1234567;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const seen: Record<string, number> = {};
  let ended = 0;
  let socket = new RecordingSocket();
  let connection = new ControlConnection(socket as unknown as PeerSocket, deps);
  const renew = (): void => {
    connection.close();
    expect(connection.requests).toBe(0);
    if (socket.ended) ended++;
    for (const type of socket.types) seen[type] = (seen[type] ?? 0) + 1;
    socket = new RecordingSocket();
    connection = new ControlConnection(socket as unknown as PeerSocket, deps);
  };
  for (let i = 0; i < 100_000; i++) {
    let bytes = Buffer.from(SEEDS[random(SEEDS.length)] as string);
    for (let edits = random(3); edits > 0; edits--) {
      const at = random(bytes.length + 1);
      const kind = random(4);
      if (kind === 0) bytes[at % bytes.length] = random(256);
      else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(6))]);
      else if (kind === 2) bytes = Buffer.concat([bytes, bytes.subarray(random(bytes.length))]);
      else
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from(TOKENS[random(TOKENS.length)] as string),
          bytes.subarray(at),
        ]);
      if (bytes.length === 0) break;
    }
    // A connection is used until it ends, so that messages meet requests under way.
    if (socket.ended || i % 50 === 0) renew();
    const cut = random(bytes.length + 1);
    connection.receive(bytes.subarray(0, cut));
    connection.receive(bytes.subarray(cut));
    if (i % 20 === 0) await setImmediate();
  }
  renew();
  // The mutations reach what lies behind the parser, and are refused as well.
  expect(seen.error).toBeGreaterThan(10_000);
  expect(seen.result).toBeGreaterThan(100);
  expect(ended).toBeGreaterThan(10_000);
  await setImmediate();
  expect(runtime.listenersOf('vm:x')).toBe(0);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});
