// What the next runtime has to know about the children of this one. Written before a child's program starts.

import { join } from 'node:path';
import type { Logger } from '../logging.ts';
import { createStateStore, type StateStore } from '../state-store.ts';
import type { ProcessIdentity } from './identity.ts';

export interface ProcessRecord {
  readonly version: 1;
  readonly plugin: string;
  readonly key: string;
  readonly kind: string;
  /** Value of RUNTIME_CHILD. */
  readonly cookie: string;
  readonly detached: boolean;
  /** It has been ready; a detached child that was not is of no use to the next runtime. */
  readonly ready: boolean;
  readonly process: ProcessIdentity;
  /** The runtime that answers for it; left out once that has let it go. */
  readonly runtime?: ProcessIdentity;
  /** Only of a detached child: its log file. */
  readonly log?: string;
  readonly data?: unknown;
}

const MAX_RECORD_BYTES = 1024 * 1024;

export class RecordStore {
  readonly #store: StateStore | undefined;
  readonly #log: Logger;

  constructor(stateDirectory: string | undefined, log: Logger) {
    this.#log = log;
    // No fsync: after a crash of the machine there are no processes to find.
    const options = { sync: false, maxBytes: MAX_RECORD_BYTES };
    this.#store =
      stateDirectory === undefined ? undefined : createStateStore(join(stateDirectory, 'processes'), log, options);
  }

  async write(record: ProcessRecord): Promise<void> {
    await this.#store?.write(nameOf(record), record);
  }

  /** Never rejects: a record too many costs the next runtime one look at /proc. */
  async remove(record: Pick<ProcessRecord, 'plugin' | 'key'>): Promise<void> {
    try {
      await this.#store?.remove(nameOf(record));
    } catch (err) {
      this.#log.warn({ err }, 'the record of a process that ended could not be removed');
    }
  }

  /** Those that can be understood; others are removed. */
  async all(): Promise<readonly ProcessRecord[]> {
    if (this.#store === undefined) return [];
    const records: ProcessRecord[] = [];
    for (const name of await this.#store.list()) {
      const value = await this.#store.read(name);
      const record = parseRecord(value);
      if (record !== undefined && nameOf(record) === name) records.push(record);
      else {
        this.#log.warn({ record: name }, 'a process record that cannot be understood was removed');
        await this.#store.remove(name);
      }
    }
    return records;
  }
}

function nameOf({ plugin, key }: Pick<ProcessRecord, 'plugin' | 'key'>): string {
  return `${plugin}/${key}`;
}

type Check = (value: unknown) => boolean;
const isText: Check = (value) => typeof value === 'string' && value !== '';
const isFlag: Check = (value) => typeof value === 'boolean';
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;

function hasFields(value: unknown, fields: Readonly<Record<string, Check>>): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(fields).every(([name, check]) => check((value as Record<string, unknown>)[name]));
}

/** 1 is nobody's child (though the runtime may be it, in a container), and a signal to 0 would go to ourselves, kill(2). */
const isChildPid: Check = (value) => isCount(value) && (value as number) > 1;

function isIdentity(value: unknown, isPid: Check = isChildPid): boolean {
  return hasFields(value, { pid: isPid, start: isCount, boot: isText });
}

export function parseRecord(value: unknown): ProcessRecord | undefined {
  const valid = hasFields(value, {
    version: (v) => v === 1,
    plugin: isText,
    key: isText,
    kind: isText,
    cookie: isText,
    detached: isFlag,
    ready: isFlag,
    process: (v) => isIdentity(v),
    runtime: (v) => v === undefined || isIdentity(v, isCount),
    log: (v) => v === undefined || isText(v),
  });
  return valid ? (value as unknown as ProcessRecord) : undefined;
}
