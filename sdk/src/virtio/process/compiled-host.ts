// Host and device compiled into one program (compile-main.ts): a device process that is started from it is there in half
// the time, and takes 3 MB less, than one that loads a hundred modules. It is used as long as none of its sources has
// changed since.

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { extname, join } from 'node:path';
import type { ModulePlace } from './control-params.ts';

/** Names in the folder of a compiled host. */
export const ENTRY = 'host.cjs';
export const RECORD = 'host.json';

export interface CompileJob extends ModulePlace {
  /** Where it is put. */
  readonly folder: string;
}

export interface HostRecord {
  /** Of its contents; the name of its folder, and what its processes say they are. */
  readonly stamp: string;
  readonly inputs: readonly { readonly path: string; readonly mtimeMs: number; readonly size: number }[];
}

export interface CompiledHost {
  readonly file: string;
  readonly stamp: string;
}

export interface CompiledHostsOptions {
  /** Of the user alone; what lies there is run. */
  readonly folder: string;
  /** Runs a program to its end. @throws when that was no success */
  readonly run: (argv: readonly [file: string, ...args: string[]]) => Promise<void>;
}

export class CompiledHosts {
  readonly #options: CompiledHostsOptions;
  /** Those that could not be compiled: not tried again. */
  readonly #failed: Set<string> = new Set();
  #waiting: CompileJob[] = [];
  #batch: Promise<void> | undefined;

  constructor(options: CompiledHostsOptions) {
    this.#options = options;
  }

  /** `undefined` when there is none, or a source has changed. */
  find(place: ModulePlace): CompiledHost | undefined {
    const folder = this.#folder(place);
    try {
      // Written by compile-main.ts; what is no record throws here or matches no file.
      const { stamp, inputs } = JSON.parse(readFileSync(join(folder, RECORD), 'utf8')) as HostRecord;
      const file = join(folder, stamp, ENTRY);
      return inputs.every(isUnchanged) && existsSync(file) ? { file, stamp } : undefined;
    } catch {
      return undefined;
    }
  }

  /** The same, and makes it if need be, which takes about a second; `undefined` when that fails. */
  async ensure(place: ModulePlace): Promise<CompiledHost | undefined> {
    const found = this.find(place);
    if (found !== undefined || this.#failed.has(place.file) || !hasCompiler()) return found;
    this.#waiting.push({ ...place, folder: this.#folder(place) });
    // All that are asked for in one go are made by one process.
    this.#batch ??= Promise.resolve().then(() => this.#compile());
    await this.#batch;
    const made = this.find(place);
    if (made === undefined) this.#failed.add(place.file);
    return made;
  }

  async #compile(): Promise<void> {
    const jobs = this.#waiting;
    this.#waiting = [];
    this.#batch = undefined;
    const program = join(import.meta.dirname, `compile-main${extname(import.meta.filename)}`);
    const flags = program.endsWith('.ts') ? ['--conditions=@runtime/source'] : [];
    // Devices whose sources do not compile are loaded from their modules.
    await this.#options.run([process.execPath, ...flags, program, JSON.stringify(jobs)]).catch(() => {});
  }

  #folder({ file }: ModulePlace): string {
    const name = createHash('sha256')
      .update(`${import.meta.dirname}\n${file}`)
      .digest('hex')
      .slice(0, 32);
    return join(this.#options.folder, name);
  }
}

/** The compiler is an optional dependency. */
function hasCompiler(): boolean {
  try {
    return findPackageJSON('vite', import.meta.url) !== undefined;
  } catch {
    return false;
  }
}

function isUnchanged({ path, mtimeMs, size }: HostRecord['inputs'][number]): boolean {
  const now = statSync(path, { throwIfNoEntry: false });
  return now?.mtimeMs === mtimeMs && now.size === size;
}
