// A queue whose members can leave from the middle: connections that want to send something, in turns. Linking costs no
// allocation, and one that ends leaves nothing behind.

export class RosterEntry<T> {
  readonly owner: T;
  /** Only for Roster. */
  previous: RosterEntry<T> | undefined = undefined;
  next: RosterEntry<T> | undefined = undefined;
  isListed = false;

  constructor(owner: T) {
    this.owner = owner;
  }
}

/** An entry is in one roster at most. */
export class Roster<T> {
  #first: RosterEntry<T> | undefined;
  #last: RosterEntry<T> | undefined;

  get first(): T | undefined {
    return this.#first?.owner;
  }

  /** At the end. Nothing happens when it is listed already. */
  add(entry: RosterEntry<T>): void {
    if (entry.isListed) return;
    entry.isListed = true;
    entry.previous = this.#last;
    if (this.#last === undefined) this.#first = entry;
    else this.#last.next = entry;
    this.#last = entry;
  }

  /** Nothing happens when it is not listed. */
  remove(entry: RosterEntry<T>): void {
    if (!entry.isListed) return;
    const { previous, next } = entry;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    entry.previous = undefined;
    entry.next = undefined;
    entry.isListed = false;
  }

  /** To the end: the others' turn. */
  rotate(entry: RosterEntry<T>): void {
    this.remove(entry);
    this.add(entry);
  }
}
