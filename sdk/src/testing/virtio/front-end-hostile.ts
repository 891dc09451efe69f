// A front end that means harm: sessions as real front ends had them, changed at random and reproducibly, and sent without
// a look at the answers.

import { closeSync, openSync } from 'node:fs';
import { FdSocket } from '../../linux/ancillary.ts';
import { isLinuxError } from '../../linux/call.ts';
import { eventfd } from '../../linux/eventfd.ts';
import { memfdCreate } from '../../linux/memfd.ts';
import { shutdownSocket } from '../../linux/sockets.ts';
import { socketPair } from '../../linux/unix-socket.ts';
import { closeFds } from '../../virtio/vhost-user/frames.ts';
import { Request, type RequestSpec } from '../../virtio/vhost-user/messages.ts';

/**
 * One message: payload in hex, and what its descriptors are (`eventfd`, `memfd:<bytes>`, `socket`, `null`). `size`, when
 * it is there, is what the header says instead of the truth.
 */
export type ScriptedMessage = readonly [
  id: number,
  flags: number,
  payload: string,
  fds: readonly string[],
  size?: number,
];

/** Numbers from 0 up to `below`, the same ones for the same seed: mulberry32. */
export type Random = (below: number) => number;

export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const EDGES = [0n, 1n, 2n, 7n, 8n, 0xffn, 0x100n, 0x101n, 0x1000n, 0x7fffn, 0x8000n, 0xffffn, 0x1_0000n, 0x8000_8000n];
const FAR_EDGES = [
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0xffff_ffff_ffff_f000n,
  0xffff_ffff_ffff_ffffn,
];
const DESCRIPTORS = ['eventfd', 'memfd:4096', 'memfd:0', 'memfd:67108864', 'memfd:2112', 'socket', 'null'];
const SPECS: readonly RequestSpec[] = Object.values(Request);

interface Draft {
  id: number;
  flags: number;
  payload: Uint8Array;
  fds: string[];
  size: number | undefined;
}

/** A session made of `original` by one to six changes. */
export function mutateSession(original: readonly ScriptedMessage[], random: Random): ScriptedMessage[] {
  const drafts = original.map(([id, flags, payload, fds, size]): Draft => {
    return { id, flags, payload: Uint8Array.from(Buffer.from(payload, 'hex')), fds: [...fds], size };
  });
  const words = dictionary(drafts);
  for (let left = 1 + random(6); left > 0; left -= 1) change(drafts, words, random);
  return drafts.map(({ id, flags, payload, fds, size }) => {
    const hex = Buffer.from(payload).toString('hex');
    return size === undefined ? [id, flags, hex, fds] : [id, flags, hex, fds, size];
  });
}

/** Values that mean something to this session: its own addresses, sizes and indices. */
function dictionary(drafts: readonly Draft[]): bigint[] {
  const words = [...EDGES, ...FAR_EDGES];
  for (const { payload } of drafts) {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    for (let at = 0; at + 8 <= payload.length && at < 64; at += 8) words.push(view.getBigUint64(at, true));
  }
  return words;
}

function change(drafts: Draft[], words: readonly bigint[], random: Random): void {
  const at = random(drafts.length);
  const draft = drafts[at];
  if (draft === undefined) return;
  const word = (): bigint => words[random(words.length)] as bigint;
  switch (random(13)) {
    case 0:
      if (draft.payload.length > 0) {
        const byte = random(draft.payload.length);
        draft.payload[byte] = (draft.payload[byte] as number) ^ (1 << random(8));
      }
      break;
    case 1:
    case 2:
      putWord(draft.payload, word() + BigInt(random(3) - 1), random);
      break;
    case 3:
      draft.id = random(4) === 0 ? random(2 ** 32) : random(50);
      break;
    case 4:
      draft.flags = random(3) === 0 ? random(16) : draft.flags ^ 8;
      break;
    case 5:
      drafts.splice(at, 1);
      break;
    case 6:
      drafts.splice(random(drafts.length), 0, { ...draft, payload: draft.payload.slice() });
      break;
    case 7: {
      const other = random(drafts.length);
      drafts[at] = drafts[other] as Draft;
      drafts[other] = draft;
      break;
    }
    case 8: {
      const length = random(2) === 0 ? random(64) : random(4200);
      const payload = new Uint8Array(length);
      payload.set(draft.payload.subarray(0, length));
      draft.payload = payload;
      break;
    }
    case 9:
      changeFds(draft, random);
      break;
    case 10:
    case 11:
      drafts.splice(at, 0, invent(word, random));
      break;
    default:
      if (random(2) === 0) draft.size = random(2) === 0 ? random(5000) : random(2 ** 32);
      else drafts.length = at + 1;
  }
}

function putWord(payload: Uint8Array, value: bigint, random: Random): void {
  if (payload.length < 8) return;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  if (random(2) === 0) view.setBigUint64(random(payload.length >> 3) * 8, BigInt.asUintN(64, value), true);
  else view.setUint32(random(payload.length >> 2) * 4, Number(BigInt.asUintN(32, value)), true);
}

function changeFds(draft: Draft, random: Random): void {
  const kind = DESCRIPTORS[random(DESCRIPTORS.length)] as string;
  if (random(2) === 0 && draft.fds.length > 0) draft.fds[random(draft.fds.length)] = kind;
  else if (random(2) === 0) draft.fds.pop();
  else for (let count = 1 + random(random(8) === 0 ? 12 : 2); count > 0; count -= 1) draft.fds.push(kind);
}

const SIZES: Readonly<Record<string, number>> = {
  u64: 8,
  'vring-state': 8,
  'vring-address': 40,
  'memory-table': 40,
  'memory-region': 40,
  log: 16,
  iotlb: 32,
  config: 16,
  inflight: 24,
  transfer: 8,
  uuid: 16,
};

/** A request as the table has it, with values that may be right. */
function invent(word: () => bigint, random: Random): Draft {
  const spec = SPECS[random(SPECS.length)] as RequestSpec;
  const payload = new Uint8Array(SIZES[spec.payload] ?? 0);
  const view = new DataView(payload.buffer);
  for (let at = 0; at < payload.length; at += 4) {
    const value = random(2) === 0 ? BigInt(random(4)) : word();
    view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  }
  for (let at = 8; at + 8 <= payload.length; at += 8) if (random(2) === 0) view.setBigUint64(at, word(), true);
  if (spec.payload === 'memory-table') view.setUint32(0, 1, true);
  if (spec.payload === 'config') view.setUint32(4, 4, true);
  const [least, most] = spec.fds;
  const fds = Array.from({ length: least + (most > least ? random(2) : 0) }, () => {
    return DESCRIPTORS[random(DESCRIPTORS.length)] as string;
  });
  return { id: spec.id, flags: random(2) === 0 ? 1 : 9, payload, fds, size: undefined };
}

/** Sends the session, reads and drops what comes back, and says that it is done. Ends when the back end closes. */
export async function playSession(fd: number, session: readonly ScriptedMessage[], random?: Random): Promise<void> {
  const socket = new FdSocket(fd);
  const sink = new Uint8Array(65_536);
  /** False when the back end has closed. */
  const drain = (): boolean => {
    for (;;) {
      const received = socket.receive(sink);
      if (received === undefined) return true;
      closeFds(received.fds);
      if (received.bytes === 0) return false;
    }
  };
  try {
    for (const message of session) if (!(await sendScripted(socket, message, drain, random))) break;
    shutdownSocket(fd, 'write');
    while (drain()) await turn();
  } catch (e) {
    if (!isLinuxError(e, 'EPIPE') && !isLinuxError(e, 'ECONNRESET')) throw e;
  } finally {
    socket[Symbol.dispose]();
    closeSync(fd);
  }
}

async function sendScripted(
  socket: FdSocket,
  [id, flags, payload, kinds, size]: ScriptedMessage,
  drain: () => boolean,
  random: Random | undefined,
): Promise<boolean> {
  const body = Buffer.from(payload, 'hex');
  const bytes = Buffer.alloc(12 + body.length);
  bytes.writeUInt32LE(id, 0);
  bytes.writeUInt32LE(flags >>> 0, 4);
  bytes.writeUInt32LE(size ?? body.length, 8);
  body.copy(bytes, 12);
  const made: number[] = [];
  const fds = kinds.map((kind) => makeDescriptor(kind, made));
  // Now and then in pieces, with the descriptors at the wrong one.
  const pieces = random !== undefined && random(16) === 0 ? 1 + random(bytes.length) : bytes.length;
  const late = pieces < bytes.length && random?.(2) === 0;
  try {
    for (let at = 0; at < bytes.length; ) {
      const end = at < pieces ? pieces : bytes.length;
      const withFds = late ? at >= pieces : at === 0;
      const sent = socket.send(bytes.subarray(at, end), withFds ? fds.splice(0) : []);
      if (!drain()) return false;
      if (sent === undefined) await turn();
      else at += sent;
    }
    return true;
  } finally {
    closeFds(made);
  }
}

function makeDescriptor(kind: string, made: number[]): number {
  const [name, size] = kind.split(':');
  let fd: number;
  if (name === 'eventfd') fd = eventfd();
  else if (name === 'memfd') fd = memfdCreate('hostile', { size: Number(size) });
  else if (name === 'socket') {
    const [ours, theirs] = socketPair('stream');
    made.push(ours);
    fd = theirs;
  } else fd = openSync('/dev/null', 'r+');
  made.push(fd);
  return fd;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
