// What is to be sent to the log of the host, and has to wait: bounded, and what does not fit is counted.

export interface LogItem {
  readonly kind: 'kernel' | 'user';
  /** Of syslog(3): 0 to 7. */
  readonly severity: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly text: string;
}

export interface LogBatch {
  readonly kind: LogItem['kind'];
  readonly items: readonly LogItem[];
}

/** Letters that wait, each item with what it costs beside them. */
const MAX_WAITING = 512 * 1024;
const ITEM_COST = 64;
/** Letters of one line. */
const MAX_TEXT = 4096;
/** Of one batch: the host takes half a MiB, and a letter may have three bytes. */
const MAX_BATCH = 128 * 1024;

export class LogQueue {
  #items: LogItem[] = [];
  #size = 0;
  #dropped = 0;

  get isEmpty(): boolean {
    return this.#items.length === 0;
  }

  push(item: LogItem): void {
    const text = item.text.slice(0, MAX_TEXT);
    const cost = text.length + ITEM_COST;
    if (this.#size + cost > MAX_WAITING) {
      this.#dropped += 1;
      return;
    }
    this.#tellDropped(item.time);
    this.#size += cost;
    this.#items.push({ ...item, text });
  }

  /** Lines that were lost elsewhere. */
  miss(count: number): void {
    this.#dropped += count;
  }

  /** The oldest of one kind, which wait no more. */
  take(now: number): LogBatch | undefined {
    if (this.#items.length === 0) this.#tellDropped(now);
    const kind = this.#items[0]?.kind;
    if (kind === undefined) return undefined;
    const items: LogItem[] = [];
    let size = 0;
    for (const item of this.#items) {
      const cost = item.text.length + ITEM_COST;
      if (item.kind !== kind || size + cost > MAX_BATCH) break;
      size += cost;
      items.push(item);
    }
    this.#items = this.#items.slice(items.length);
    this.#size -= size;
    return { kind, items };
  }

  /** One that could not be sent. */
  putBack({ items }: LogBatch): void {
    this.#items = [...items, ...this.#items];
    this.#size += items.reduce((sum, { text }) => sum + text.length + ITEM_COST, 0);
  }

  #tellDropped(time: number): void {
    if (this.#dropped === 0) return;
    const text = `maitred: ${this.#dropped} lines were dropped, since they came faster than the host took them`;
    this.#dropped = 0;
    this.#size += text.length + ITEM_COST;
    this.#items.push({ kind: 'user', severity: 4, time, text });
  }
}
