// What must outlive a reload but cannot be cloned: descriptors, mappings, workers. The core holds the value; the plugin
// asks for it by key, before and after the reload.

import { closeSync } from 'node:fs';
import { errors } from './core-errors.ts';
import type { Logger } from './logging.ts';
import type { Scope } from './scope.ts';

export interface KeeperKinds {
  /** A number from open(2) or the like; closed by the core. */
  fd: number;
  mapping: Disposable;
  worker: AsyncDisposable;
  object: unknown;
}
export type KeeperKind = keyof KeeperKinds;

export interface Keepers {
  /**
   * The value kept under `key`, or the one `create` makes. It stays through reloads and is closed when the plugin is
   * unloaded, or when the reloaded plugin did not ask for it again before it was ready.
   * @param close default: by kind (close(2), Symbol.dispose, Symbol.asyncDispose; an `object` is merely dropped)
   * @throws CORE_ERR_SCOPE_CLOSED, and CORE_ERR_KEEPER_KIND when `key` is kept as another kind
   */
  keep<K extends KeeperKind, T extends KeeperKinds[K]>(
    kind: K,
    key: string,
    create: () => T | Promise<T>,
    close?: (value: T) => void | Promise<void>,
  ): Promise<T>;
  /** Closes it now. */
  drop(key: string): Promise<void>;
}

type Close = (value: unknown) => void | Promise<void>;

const CLOSE: Readonly<Record<KeeperKind, Close>> = {
  fd: (value) => closeSync(value as number),
  mapping: (value) => (value as Disposable)[Symbol.dispose](),
  worker: async (value) => (value as AsyncDisposable)[Symbol.asyncDispose](),
  object: () => {},
};

interface Kept {
  readonly owner: string;
  readonly key: string;
  readonly kind: KeeperKind;
  readonly value: Promise<unknown>;
  /** Of the instance that asked last, so that the code of an older one can be collected. */
  close: Close;
  parked: boolean;
  registration: Disposable | undefined;
}

function identity(owner: string, key: string): string {
  return `${owner}\0${key}`;
}

/** The keepers of one runtime. */
export class KeeperTable {
  readonly #kept: Map<string, Kept> = new Map();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  view(scope: Scope): Keepers {
    return {
      keep: (kind, key, create, close) => this.#keep(scope, kind, key, create, close as Close | undefined) as never,
      drop: async (key) => {
        const kept = this.#kept.get(identity(scope.owner, key));
        if (kept !== undefined) await this.#close(kept);
      },
    };
  }

  report(): readonly { readonly plugin: string; readonly key: string; readonly kind: KeeperKind }[] {
    return Array.from(this.#kept.values(), ({ owner, key, kind }) => ({ plugin: owner, key, kind }));
  }

  /** From now on closing the owner's scope keeps its values. */
  park(owner: string): void {
    for (const kept of this.#kept.values()) {
      if (kept.owner !== owner) continue;
      kept.parked = true;
      const { registration } = kept;
      kept.registration = undefined;
      registration?.[Symbol.dispose]();
    }
  }

  /** Closes what the owner parked and did not ask for again. Returns the keys. */
  async sweep(owner: string): Promise<readonly string[]> {
    const left = [...this.#kept.values()].filter((kept) => kept.owner === owner && kept.parked);
    for (const kept of left) {
      await this.#close(kept).catch((err: unknown) => {
        this.#log.warn({ plugin: owner, key: kept.key, err }, `closing what ${owner} kept as "${kept.key}" failed`);
      });
    }
    return left.map((kept) => kept.key);
  }

  async #keep(
    scope: Scope,
    kind: KeeperKind,
    key: string,
    create: () => unknown,
    close: Close = CLOSE[kind],
  ): Promise<unknown> {
    const { owner } = scope;
    if (scope.closed) {
      throw errors.CORE_ERR_SCOPE_CLOSED({ plugin: owner, details: { owner, label: `kept ${kind} ${key}` } });
    }
    let kept = this.#kept.get(identity(owner, key));
    if (kept === undefined) {
      const value = Promise.try(create);
      const made: Kept = { owner, key, kind, value, close, parked: true, registration: undefined };
      this.#kept.set(identity(owner, key), made);
      value.catch(() => this.#forget(made));
      kept = made;
    } else if (kept.kind !== kind) {
      const details = { plugin: owner, key, is: kept.kind, asked: kind };
      throw errors.CORE_ERR_KEEPER_KIND({ plugin: owner, details });
    }
    kept.close = close;
    if (kept.parked) this.#bind(scope, kept);
    return kept.value;
  }

  #bind(scope: Scope, kept: Kept): void {
    kept.parked = false;
    kept.registration = scope.defer(`kept ${kept.kind} ${kept.key}`, async () => {
      if (kept.registration !== undefined) await this.#close(kept);
    });
  }

  /** False when it is forgotten already. */
  #forget(kept: Kept): boolean {
    const id = identity(kept.owner, kept.key);
    if (this.#kept.get(id) !== kept) return false;
    this.#kept.delete(id);
    const { registration } = kept;
    kept.registration = undefined;
    registration?.[Symbol.dispose]();
    return true;
  }

  async #close(kept: Kept): Promise<void> {
    if (!this.#forget(kept)) return;
    // A value that could not be made needs no closing.
    const made = await kept.value.then(
      (value) => ({ value }),
      () => undefined,
    );
    if (made !== undefined) await kept.close(made.value);
  }
}
