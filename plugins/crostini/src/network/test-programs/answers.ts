// Programs in network namespaces of their own, which do what their parent asks for.

import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

type Handler = (...args: string[]) => Promise<unknown>;

interface Question {
  readonly id: number;
  readonly method: string;
  readonly args: string[];
}

export async function answerRequests(handlers: Readonly<Record<string, Handler>>): Promise<void> {
  process.on('message', async ({ id, method, args }: Question) => {
    try {
      process.send?.({ id, value: (await handlers[method]?.(...args)) ?? null });
    } catch (e) {
      process.send?.({ id, error: String(e) });
    }
  });
  process.on('disconnect', () => process.exit());
}

/** One of these programs. */
export class Namespace implements Disposable {
  readonly #child: ChildProcess;
  readonly #waiting: Map<number, PromiseWithResolvers<unknown>> = new Map();
  #next = 0;

  /** @param fd becomes its descriptor 4 */
  constructor(file: string, args: readonly string[] = [], fd?: number) {
    const command = ['--net', process.execPath, '--conditions=@runtime/source', file, ...args];
    this.#child = spawn('unshare', command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc', fd ?? 'ignore'] });
    this.#child.on('message', ({ id, value, error }: { id: number; value: unknown; error?: string }) => {
      const waiting = this.#waiting.get(id);
      if (error === undefined) waiting?.resolve(value);
      else waiting?.reject(new Error(error));
    });
    this.#child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${file} has ended`));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  ask(method: string, ...args: readonly string[]): Promise<unknown> {
    const id = this.#next++;
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    answer.promise.then(() => this.#waiting.delete(id)).catch(() => {});
    this.#child.send({ id, method, args });
    return answer.promise;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}

/** `open`, or the name of what came back, or `silence`. */
export function connectTo(host = '', port = ''): Promise<string> {
  const outcome = Promise.withResolvers<string>();
  const socket = connect({ host, port: Number(port) });
  socket.once('connect', () => outcome.resolve('open'));
  socket.once('error', ({ code }: NodeJS.ErrnoException) => outcome.resolve(code ?? 'error'));
  socket.setTimeout(1_500, () => outcome.resolve('silence'));
  return outcome.promise.finally(() => socket.destroy());
}

/** Bytes of the answer to a question for names, or `silence`. */
export async function datagramTo(host = ''): Promise<string> {
  const socket = createSocket('udp4');
  const query = Buffer.from('0001010000010000000000000473686f7004746573740000010001', 'hex');
  socket.send(query, 53, host);
  const answer = once(socket, 'message').then(() => 'answer');
  const failure = once(socket, 'error').then(([e]) => (e as NodeJS.ErrnoException).code ?? 'error');
  const outcome = await Promise.race([answer, failure, delay(1_000, 'silence')]);
  socket.close();
  return outcome;
}

export async function waitForInterface(name: string): Promise<void> {
  while (!existsSync(`/proc/sys/net/ipv4/conf/${name}`)) await delay(10);
}
