// Checks of `runtime doctor`: each says what it found and, when that is not good, what to do.

import { type Clock, withDeadline } from './clock.ts';
import type { Scope } from './scope.ts';

export type CheckStatus = 'ok' | 'warn' | 'fail';
export interface CheckResult {
  readonly status: CheckStatus;
  /** What was found, one line. */
  readonly found: string;
  /** What to do; required unless `ok`. */
  readonly remedy?: string;
}
export type Check = () => CheckResult | Promise<CheckResult>;
export interface CheckReport extends CheckResult {
  readonly name: string;
  readonly plugin: string;
}
export interface CheckRegistry {
  add(name: string, check: Check): Disposable;
}

const CHECK_MS = 10_000;

interface CheckEntry {
  readonly plugin: string;
  readonly name: string;
  readonly check: Check;
}

/** The checks of one runtime. */
export class CheckTable {
  readonly #entries: Set<CheckEntry> = new Set();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  view(scope: Scope): CheckRegistry {
    return {
      add: (name, check) => {
        const entry: CheckEntry = { plugin: scope.owner, name, check };
        const registration = scope.defer(`check ${name}`, () => {
          this.#entries.delete(entry);
        });
        this.#entries.add(entry);
        return registration;
      },
    };
  }

  /** All at once; one that throws or hangs is reported as failed. */
  run(): Promise<readonly CheckReport[]> {
    return Promise.all(Array.from(this.#entries, (entry) => this.#run(entry)));
  }

  async #run({ plugin, name, check }: CheckEntry): Promise<CheckReport> {
    try {
      const late = (): Error => new Error(`no answer within ${CHECK_MS} ms`);
      const result = await withDeadline(this.#clock, CHECK_MS, Promise.try(check), late);
      return { name, plugin, ...result };
    } catch (error) {
      const found = `the check itself failed: ${error instanceof Error ? error.message : String(error)}`;
      return { name, plugin, status: 'fail', found, remedy: `Report it to the author of ${plugin}.` };
    }
  }
}
