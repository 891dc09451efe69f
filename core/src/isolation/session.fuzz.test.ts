// Whatever bytes the process of a plugin sends: the runtime does not crash, and the worst that happens is a coded error
// that ends the link.

import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AnyContext } from '../context.ts';
import { isRuntimeError } from '../errors.ts';
import { createLogger } from '../logging.ts';
import { definePlugin } from '../plugin.ts';
import { createRuntime } from '../runtime.ts';
import type { Runtime } from '../runtime-types.ts';
import { tools } from '../test-programs/lab/contract.ts';
import { toolbox } from '../test-programs/lab/found.ts';
import { Invocations } from './command-bridge.ts';
import { ContextTable } from './contexts.ts';
import { FRAME_BYTES, MAX_CALLS } from './limits.ts';
import { Registrations } from './registrations.ts';
import { Rpc } from './rpc.ts';
import { Session } from './session.ts';

let runtime: Runtime;
let ctx: AnyContext;

beforeAll(async () => {
  const victim = definePlugin({
    name: 'victim',
    requires: { tools },
    setup(given) {
      ctx = given as unknown as AnyContext;
    },
  });
  runtime = createRuntime({ log: createLogger({ level: 'silent' }) })
    .use(toolbox)
    .use(victim);
  await runtime.start();
});
afterAll(() => runtime.stop());

const HOOK = '{"id":"q","hookKind":"waterfall","args":["x"],"version":"1.0.0"}';
const POOL =
  '{"id":"ids","spec":{"kind":"id","from":{"$t":"bigint","v":"1"},"to":{"$t":"bigint","v":"9"}},"version":"1.0.0"}';
/** Everything but starting processes, which a mutated path must not do here. */
const SEEDS = [
  '{"t":"call","id":1,"m":"service","a":["tools","double",[{"$t":"bigint","v":"4"}]],"p":3}\n',
  `{"t":"call","id":2,"m":"hook","a":[${HOOK},[1]]}\n`,
  '{"t":"call","id":3,"m":"state.write","a":["notes",{"x":1}]}\n{"t":"call","id":4,"m":"state.read","a":["notes"]}\n',
  '{"t":"call","id":5,"m":"io.write","a":[1,{"$t":"bytes","v":"aGk="}]}\n',
  '{"t":"tell","m":"on","a":["k#1","vm:*",3]}\n{"t":"tell","m":"emit","a":["vm:x",{"n":1}]}\n{"t":"tell","m":"off","a":["k#1"]}\n',
  '{"t":"tell","m":"log","a":["warn",{"a":1},"text"]}\n',
  '{"t":"tell","m":"trace.span","a":[-1,"lease","n","p",null]}\n{"t":"tell","m":"trace.end","a":[-1,{"$t":"undefined"}]}\n',
  '{"t":"tell","m":"track","a":[1,"work"]}\n{"t":"tell","m":"untrack","a":[1]}\n',
  '{"t":"done","id":1,"v":1}\n{"t":"fail","id":2,"e":{"$t":"error","v":{"code":"X","message":"m"}}}\n{"t":"abort","id":1}\n',
];
const SYNC_SEEDS: readonly (readonly [string, string])[] = [
  ['tap', `["q#1",${HOOK},{"stage":1}]`],
  ['untap', '["q#1"]'],
  ['lease', `[${POOL},{"key":"k"}]`],
  ['leaseAll', `[[[${POOL},{"key":"k"}],[${POOL},{"key":"l","at":{"$t":"bigint","v":"3"}}]]]`],
  ['release', '["ids","k"]'],
  ['command', '["command vm go","{}"]'],
  ['check', '["check c","c"]'],
  ['history', '["vm:x"]'],
  ['process', '[1]'],
  ['kill', '[1,"SIGTERM"]'],
];
const TOKENS = [
  '"a":[]',
  'null',
  '-1',
  '{}',
  '[',
  ']',
  '"__proto__"',
  '{"$t":"bigint","v":"99"}',
  '"tools"',
  '\n',
  '"constructor"',
];

it('30,000 mutated messages end at worst the link, with a code', { timeout: 60_000 }, async () => {
  // A fixed seed: a failure can be repeated.
  let state = 0x51ed270b;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  const mutate = (text: string): Buffer => {
    let bytes = Buffer.from(text);
    for (let edits = random(3); edits > 0 && bytes.length > 0; edits--) {
      const at = random(bytes.length);
      const kind = random(3);
      if (kind === 0) bytes[at] = random(256);
      else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(5))]);
      else bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(pick(TOKENS)), bytes.subarray(at)]);
    }
    return bytes;
  };
  const make = (): { readonly rpc: Rpc; readonly session: Session } => {
    const contexts = new ContextTable();
    const session = new Session({
      ctx,
      contexts,
      registrations: new Registrations('victim'),
      invocations: new Invocations(),
      toPlugin: async () => undefined,
      deliver: () => {},
      listening: () => {},
    });
    const rpc = new Rpc({ write: () => {}, handlers: session, frameBytes: FRAME_BYTES, maxCalls: MAX_CALLS });
    return { rpc, session };
  };
  let { rpc, session } = make();
  let broken = 0;
  let refused = 0;
  let done = 0;
  for (let i = 0; i < 15_000; i++) {
    try {
      rpc.receive(mutate(pick(SEEDS)));
      done += 1;
    } catch (error) {
      if (!isRuntimeError(error) || !error.code.startsWith('CORE_ERR_WIRE')) throw error;
      broken += 1;
      rpc.close(error);
      session.close();
      ({ rpc, session } = make());
    }
    const [method, args] = pick(SYNC_SEEDS);
    try {
      const parsed: unknown = JSON.parse(mutate(args).toString());
      session.answerSync(method, Array.isArray(parsed) ? parsed : [], random(10));
    } catch (error) {
      if (!isRuntimeError(error) && !(error instanceof SyntaxError)) throw error;
      refused += 1;
    }
    if (i % 50 === 0) await setImmediate();
  }
  expect(done).toBeGreaterThan(2_000);
  expect(broken).toBeGreaterThan(2_000);
  expect(refused).toBeGreaterThan(2_000);
  session.close();
  expect(await runtime.get(tools).double(2n)).toBe(4n);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});
