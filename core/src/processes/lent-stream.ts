// A child's pipe, lent to one instance of a plugin. At a reload it is taken back with what was not read yet, and lent to
// the next instance: listeners of the old code stay with the old loan and go with it.

import { Readable, Writable } from 'node:stream';

/** What a borrower had taken out of a source and not read; kept here since a source that ended takes nothing back. */
const unread: WeakMap<Readable, unknown> = new WeakMap();

export class LentReadable extends Readable {
  #source: Readable | undefined;
  #wanted = false;
  readonly #pump = (): void => {
    while (this.#wanted && this.#source !== undefined) {
      const chunk: unknown = this.#source.read();
      if (chunk === null) return;
      this.#wanted = this.push(chunk);
    }
  };
  readonly #end = (): void => {
    this.push(null);
  };

  constructor(source: Readable) {
    // At most one chunk is held here; the rest waits in the source.
    super({ highWaterMark: 1 });
    this.#source = source;
    if (unread.has(source)) this.push(unread.get(source));
    unread.delete(source);
    source.on('readable', this.#pump).on('end', this.#end).on('close', this.#end);
    if (source.destroyed || source.readableEnded) this.#end();
  }

  override _read(): void {
    this.#wanted = true;
    this.#pump();
  }

  /** Ends the loan. The borrower sees nothing more, not even an end. */
  giveBack(): void {
    const source = this.#source;
    if (source === undefined) return;
    this.#source = undefined;
    source.off('readable', this.#pump).off('end', this.#end).off('close', this.#end);
    const rest: unknown = this.read();
    if (rest !== null) unread.set(source, rest);
  }
}

export class LentWritable extends Writable {
  #target: Writable | undefined;

  constructor(target: Writable) {
    super({ decodeStrings: false });
    this.#target = target;
    // A child that ends while it is written to must not end the runtime; whoever wants to know listens as well.
    this.on('error', () => {});
  }

  override _write(chunk: unknown, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#target === undefined) done(new Error('the pipe was lent to a newer instance of the plugin'));
    else this.#target.write(chunk, encoding, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#target === undefined) done();
    else this.#target.end(done);
  }

  giveBack(): void {
    this.#target = undefined;
  }
}
