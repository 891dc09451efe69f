import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { FdSocket, listenUnix } from '@runtime/sdk/linux';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HELLO, Home } from './command-line.ts';

/** What systemd is under Type=notify: a socket for datagrams. */
class Listener implements Disposable {
  readonly told: string[] = [];
  readonly #fd: number;
  readonly #socket: FdSocket;
  readonly #timer: NodeJS.Timeout;

  constructor(path: string) {
    this.#fd = listenUnix(path, { type: 'datagram' });
    this.#socket = new FdSocket(this.#fd, { maxFds: 0 });
    const into = new Uint8Array(4096);
    this.#timer = setInterval(() => {
      for (let one = this.#socket.receive(into); one !== undefined; one = this.#socket.receive(into))
        this.told.push(Buffer.from(into.subarray(0, one.bytes)).toString());
    }, 10);
  }

  says(line: string): boolean {
    return this.told.some((text) => text.split('\n').includes(line));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#socket[Symbol.dispose]();
    closeSync(this.#fd);
  }
}

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

test.each(['a file', 'a name in no file system'])(
  'a service manager behind %s is told what the runtime does',
  async (where) => {
    const name = join(home.folder, 'notify');
    using listener = new Listener(where === 'a file' ? name : `\0${name}`);
    expect(existsSync(name)).toBe(where === 'a file');
    const running = home.start(['--plugins', HELLO], {
      NOTIFY_SOCKET: where === 'a file' ? name : `@${name}`,
      WATCHDOG_USEC: '200000',
    });
    await expect.poll(() => listener.says('READY=1'), { timeout: 20_000 }).toBe(true);
    expect(listener.told[0]).toBe('STATUS=starting\n');
    expect(listener.told.find((text) => text.startsWith('READY=1'))).toMatch(
      /^READY=1\nSTATUS=ready in \d+ ms: 1 plugin, listening on .*default\.sock\n$/,
    );
    await expect.poll(() => listener.told.filter((text) => text === 'WATCHDOG=1\n').length).toBeGreaterThan(2);
    // It is not told twice, and children do not hear of it.
    const before = listener.told.filter((text) => text.startsWith('READY=1')).length;
    running.child.kill('SIGTERM');
    expect((await running.ended).code).toBe(0);
    await expect.poll(() => listener.says('STOPPING=1')).toBe(true);
    expect(before).toBe(1);
  },
);

test('what is watched is not us, or listens no more: the runtime runs all the same', async () => {
  const running = home.start(['--plugins', HELLO], { NOTIFY_SOCKET: join(home.folder, 'nobody') });
  await running.says('ready in');
  running.child.kill('SIGTERM');
  expect((await running.ended).code).toBe(0);

  using listener = new Listener(join(home.folder, 'notify'));
  const env = { NOTIFY_SOCKET: join(home.folder, 'notify'), WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' };
  const other = home.start(['--plugins', HELLO], env);
  await expect.poll(() => listener.says('READY=1'), { timeout: 20_000 }).toBe(true);
  other.child.kill('SIGTERM');
  await other.ended;
  expect(listener.says('WATCHDOG=1')).toBe(false);
});
