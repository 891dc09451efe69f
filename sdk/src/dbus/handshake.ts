// How a connection begins: https://dbus.freedesktop.org/doc/dbus-specification.html#auth-protocol. The kernel tells the bus
// who we are, so that there is nothing to be kept secret.

import { broken } from './reader.ts';

type Step = 'auth' | 'fds' | 'done';

/** Answers the lines of the bus, one by one. */
export class Handshake {
  #step: Step = 'auth';
  #passesFds = false;

  get isDone(): boolean {
    return this.#step === 'done';
  }

  get passesFds(): boolean {
    return this.#passesFds;
  }

  /** The first byte carries our credentials where a system wants it so. */
  start(): string {
    const uid = String(process.getuid?.() ?? 0);
    return `\0AUTH EXTERNAL ${Buffer.from(uid).toString('hex')}\r\n`;
  }

  /** What to send next. @throws SDK_ERR_DBUS_PROTOCOL when the bus does not let us in */
  answer(line: string): string {
    const [word] = line.split(' ');
    if (this.#step === 'auth') {
      if (word !== 'OK') throw broken(`the bus does not let user ${process.getuid?.()} in: ${shown(line)}`);
      this.#step = 'fds';
      return 'NEGOTIATE_UNIX_FD\r\n';
    }
    if (word !== 'AGREE_UNIX_FD' && word !== 'ERROR') throw broken(`the bus answers ${shown(line)} to the handshake`);
    this.#passesFds = word === 'AGREE_UNIX_FD';
    this.#step = 'done';
    return 'BEGIN\r\n';
  }
}

function shown(line: string): string {
  return JSON.stringify(line.slice(0, 80));
}
