// What must outlive a reload but cannot be cloned: descriptors, mappings, workers. The core holds the value; the plugin
// asks for it by key, before and after the reload.

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
