// LXD's events: text frames of a WebSocket (RFC 6455), of which we read only what a server sends.

import { createHash, randomBytes } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import type { Duplex } from 'node:stream';

export interface EventSubscription extends Disposable {
  /** Resolves when no more come: LXD has ended, or this was disposed of. */
  readonly closed: Promise<void>;
}

/** Of one event. */
const MESSAGE_MAX = 4 * 2 ** 20;
const CONNECT_MS = 10_000;
/** RFC 6455, 1.3. */
const ACCEPT_SALT = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** RFC 6455, 5.2. */
const OPCODES = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const FIN = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;

/** @throws Error when there is nobody, or no WebSocket */
export async function subscribeToEvents(
  socketPath: string,
  path: string,
  onText: (text: string) => void,
): Promise<EventSubscription> {
  const { socket, head } = await upgrade(socketPath, path);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const frames = new FrameReader(onText, (payload) => socket.write(clientFrame(OPCODES.pong, payload)));
  const take = (bytes: Buffer): void => {
    try {
      if (!frames.take(bytes)) socket.destroy();
    } catch (e) {
      socket.destroy(e as Error);
    }
  };
  socket.on('data', take);
  socket.on('error', () => {});
  socket.on('end', () => socket.destroy());
  socket.on('close', () => resolve());
  if (head.length > 0) take(head);
  return { closed, [Symbol.dispose]: () => void socket.destroy() };
}

function upgrade(socketPath: string, path: string): Promise<{ readonly socket: Duplex; readonly head: Buffer }> {
  const key = randomBytes(16).toString('base64');
  const accept = createHash('sha1')
    .update(key + ACCEPT_SALT)
    .digest('base64');
  return new Promise((resolve, reject) => {
    const call = request({
      ...{ socketPath, path, agent: false },
      headers: {
        ...{ host: 'lxd', connection: 'Upgrade', upgrade: 'websocket' },
        ...{ 'sec-websocket-version': '13', 'sec-websocket-key': key },
      },
    });
    call.setTimeout(CONNECT_MS, () => call.destroy(new Error('LXD is silent')));
    call.on('error', reject);
    call.on('response', (answer: IncomingMessage) => {
      answer.resume();
      reject(new Error(`LXD answers HTTP ${answer.statusCode} when asked for its events`));
    });
    call.on('upgrade', (answer: IncomingMessage, socket: Duplex, head: Buffer) => {
      call.setTimeout(0);
      if (answer.headers['sec-websocket-accept'] === accept) resolve({ socket, head });
      else {
        socket.destroy();
        reject(new Error('LXD answers no WebSocket'));
      }
    });
    call.end();
  });
}

/** Puts frames together from bytes that come in any pieces. */
export class FrameReader {
  readonly #onText: (text: string) => void;
  readonly #onPing: (payload: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);
  #parts: Buffer[] | undefined;
  #partBytes = 0;

  constructor(onText: (text: string) => void, onPing: (payload: Buffer) => void) {
    this.#onText = onText;
    this.#onPing = onPing;
  }

  /** @returns false when the other side has said that it ends. @throws Error when it breaks the protocol */
  take(bytes: Buffer): boolean {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) {
      if (!this.#handle(frame)) return false;
    }
    return true;
  }

  #next(): Frame | undefined {
    const rest = this.#rest;
    if (rest.length < 2) return undefined;
    const [first = 0, second = 0] = rest;
    if ((first & RESERVED) !== 0 || (second & MASKED) !== 0) throw new Error('this is no frame of a server');
    const short = second & 0x7f;
    const headerBytes = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (rest.length < headerBytes) return undefined;
    const length = short === 126 ? rest.readUInt16BE(2) : short === 127 ? Number(rest.readBigUInt64BE(2)) : short;
    if (length > MESSAGE_MAX) throw new Error(`a frame of ${length} bytes is too long`);
    if (rest.length < headerBytes + length) return undefined;
    this.#rest = rest.subarray(headerBytes + length);
    return {
      last: (first & FIN) !== 0,
      opcode: first & 0x0f,
      payload: rest.subarray(headerBytes, headerBytes + length),
    };
  }

  #handle({ last, opcode, payload }: Frame): boolean {
    switch (opcode) {
      case OPCODES.close:
        return false;
      case OPCODES.ping:
        this.#onPing(payload);
        return true;
      case OPCODES.pong:
        return true;
      case OPCODES.text:
      case OPCODES.binary:
        if (this.#parts !== undefined) throw new Error('a message begins within another');
        this.#parts = [];
        this.#partBytes = 0;
        break;
      case OPCODES.continuation:
        if (this.#parts === undefined) throw new Error('nothing is to be continued');
        break;
      default:
        throw new Error(`there is no opcode ${opcode}`);
    }
    this.#partBytes += payload.length;
    if (this.#partBytes > MESSAGE_MAX) throw new Error('a message is too long');
    this.#parts.push(payload);
    if (last) {
      const whole = Buffer.concat(this.#parts, this.#partBytes).toString();
      this.#parts = undefined;
      this.#onText(whole);
    }
    return true;
  }
}

interface Frame {
  readonly last: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
}

/** Frames of a client are masked (5.3); the key need not be secret on a Unix socket. */
function clientFrame(opcode: number, payload: Buffer): Buffer {
  const cut = payload.subarray(0, 125);
  const mask = randomBytes(4);
  const masked = Buffer.from(cut.map((byte, i) => byte ^ (mask[i % 4] ?? 0)));
  return Buffer.concat([Buffer.from([FIN | opcode, MASKED | cut.length]), mask, masked]);
}
