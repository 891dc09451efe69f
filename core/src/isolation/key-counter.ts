// Keys that come out the same in every process of a plugin: what is registered, and the how manieth of that.

export class KeyCounter {
  readonly #counts: Map<string, number> = new Map();

  next(name: string): string {
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    return `${name}#${count}`;
  }
}
