// What pools do, by looking at every value there is. For small pools only.

import type { Ask } from '../pools.ts';
import type { AddressRange, PoolSpec, PoolValues } from '../tokens.ts';

type Value = PoolValues[keyof PoolValues];
export type Answer = { readonly value: Value } | { readonly why: 'exhausted' | 'taken' | 'range' };

const isRange = (value: Value): value is AddressRange => typeof value === 'object';

function overlaps(a: Value, b: Value): boolean {
  if (!isRange(a) || !isRange(b)) return a === b;
  for (let n = a.start; n < a.start + a.size; n++) if (n >= b.start && n < b.start + b.size) return true;
  return false;
}

export class PoolModel {
  readonly spec: PoolSpec;
  held: Value[] = [];
  #lastId: bigint | undefined;

  constructor(spec: PoolSpec) {
    this.spec = spec;
  }

  take(ask: Ask): Answer {
    const answer = this.#choose(ask);
    if ('value' in answer) this.held.push(answer.value);
    return answer;
  }

  release(value: Value): void {
    const index = this.held.indexOf(value);
    if (index !== -1) this.held.splice(index, 1);
  }

  #choose(ask: Ask): Answer {
    const { spec } = this;
    if (spec.kind === 'path') return this.#at(ask.at as string);
    if (spec.kind === 'count') {
      const size = ask.size as bigint;
      const used = this.held.reduce<bigint>((sum, n) => sum + (n as bigint), 0n);
      if (size > spec.total) return { why: 'range' };
      return size > spec.total - used ? { why: 'exhausted' } : { value: size };
    }
    if (spec.kind === 'id') {
      const all: bigint[] = [];
      for (let id = spec.from; id <= spec.to; id++) all.push(id);
      if (ask.at !== undefined) return all.includes(ask.at as bigint) ? this.#at(ask.at) : { why: 'range' };
      const after = this.#lastId ?? spec.to;
      const fromThere = [...all.filter((id) => id > after), ...all.filter((id) => id <= after)];
      const free = fromThere.find((id) => !this.held.includes(id));
      if (free === undefined) return { why: 'exhausted' };
      this.#lastId = free;
      return { value: free };
    }
    const size = ask.size as bigint;
    const align = [ask.align ?? 1n, spec.align ?? 1n].reduce((a, b) => (a > b ? a : b));
    const places: bigint[] = [];
    for (let at = spec.base; at + size <= spec.base + spec.size; at++) if (at % align === 0n) places.push(at);
    if (ask.at !== undefined) {
      return places.includes(ask.at as bigint) ? this.#at({ start: ask.at as bigint, size }) : { why: 'range' };
    }
    const fits = places.find((start) => !this.held.some((held) => overlaps(held, { start, size })));
    return fits === undefined ? { why: 'exhausted' } : { value: { start: fits, size } };
  }

  #at(value: Value): Answer {
    return this.held.some((held) => overlaps(held, value)) ? { why: 'taken' } : { value };
  }
}
