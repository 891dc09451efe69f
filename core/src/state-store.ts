// Documents that survive the runtime: one JSON file each, replaced atomically.

export interface StateStore {
  /** Folder of the documents. */
  readonly directory: string;
  /** `undefined` when there is none. A document that cannot be read is moved aside and reported as none. */
  read(name: string): Promise<unknown>;
  /** Durable when it resolves: written to a temporary file, fsync, rename, fsync of the folder. */
  write(name: string, value: unknown): Promise<void>;
  remove(name: string): Promise<void>;
  list(): Promise<readonly string[]>;
}
