// Who has which networks of this computer: runtimes share its addresses and its switch for forwarding. A folder for each
// network namespace, with a file for each runtime that has VMs with a tap. It is gone with the last of them.

import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { lockFile } from '@runtime/sdk/linux';
import { z } from 'zod';
import { errors } from '../errors.ts';
import { interfaceExists } from './interfaces.ts';
import { tapName } from './names.ts';

/** Only root writes there. */
export const CLAIMS_FOLDER = '/run/runtime-network';

const LOCK_MS = 15_000;
const PAUSE_MS = 20;
/** Of interfaces that forwarded before. */
const FORWARDING = 'forwarding';
const RUNTIME = /^[0-9a-f]{8}$/;

const claimSchema = z.strictObject({
  version: z.literal(1),
  /** Whose it is, and since when that process runs, in ticks since the computer started. */
  pid: z.int(),
  start: z.string(),
  /** First addresses of its networks, as numbers. */
  subnets: z.array(z.int().min(0).max(0xffff_fffc)).max(64),
});

const forwardingSchema = z.array(z.string().max(15)).max(4096);

export interface Claim {
  readonly runtime: string;
  readonly subnets: readonly number[];
}

export class Claims {
  readonly #folder: string;

  constructor(folder: string = CLAIMS_FOLDER) {
    const [, namespace = '0'] = /\[(\d+)\]/.exec(readlinkSync('/proc/self/ns/net')) ?? [];
    this.#folder = join(folder, namespace);
  }

  /** One at a time on all of this computer. @throws CROSTINI_ERR_NETWORK */
  async exclusively<T>(work: (claims: LockedClaims) => Promise<T>): Promise<T> {
    const fd = await this.#lock();
    try {
      return await work(new LockedClaims(this.#folder));
    } finally {
      this.#removeEmpty();
      closeSync(fd);
    }
  }

  /** Without waiting for anybody; what another runtime is just writing may be missed. */
  peek(runtime: string): readonly number[] {
    return new LockedClaims(this.#folder).read(runtime)?.subnets ?? [];
  }

  async #lock(): Promise<number> {
    for (const deadline = Date.now() + LOCK_MS; Date.now() < deadline; await delay(PAUSE_MS)) {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      let fd: number;
      try {
        fd = openSync(this.#folder, 'r');
      } catch (e) {
        if ((e as NodeJS.ErrnoException).code === 'ENOENT') continue;
        throw e;
      }
      // Whoever had it last may have removed it.
      if (lockFile(fd, 'exclusive') && fstatSync(fd).nlink > 0) return fd;
      closeSync(fd);
    }
    const why = `another runtime has held ${this.#folder} for ${LOCK_MS / 1_000} s`;
    throw errors.CROSTINI_ERR_NETWORK({ details: { why, hint: 'See what it does: runtime list, ps' } });
  }

  #removeEmpty(): void {
    try {
      rmdirSync(this.#folder);
      rmdirSync(dirname(this.#folder));
    } catch {
      // There are claims in it, of this namespace or another.
    }
  }
}

export class LockedClaims {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** `undefined`: it has none, or none that can be read. */
  read(runtime: string): z.output<typeof claimSchema> | undefined {
    return readJson(join(this.#folder, runtime), claimSchema);
  }

  /** None of them: there is no claim any more. */
  async write({ runtime, subnets }: Claim): Promise<void> {
    if (subnets.length === 0) return this.#remove(runtime);
    const value = { version: 1, pid: process.pid, start: startOf(process.pid) ?? '', subnets };
    await this.#replace(runtime, value);
  }

  /** Of all runtimes. */
  all(): readonly (Claim & { readonly alive: boolean })[] {
    return readdirSync(this.#folder)
      .filter((name) => RUNTIME.test(name))
      .map((runtime) => {
        const { pid = 0, start = '', subnets = [] } = this.read(runtime) ?? {};
        const alive =
          (start !== '' && startOf(pid) === start) ||
          subnets.some((subnet) => interfaceExists(tapName(runtime, subnet)));
        return { runtime, subnets, alive };
      });
  }

  /** Interfaces that forwarded before there was any VM; `undefined`: nobody has changed that. */
  forwardingBefore(): readonly string[] | undefined {
    return readJson(join(this.#folder, FORWARDING), forwardingSchema);
  }

  async writeForwardingBefore(names: readonly string[] | undefined): Promise<void> {
    if (names === undefined) return this.#remove(FORWARDING);
    await this.#replace(FORWARDING, names);
  }

  /** With what was left by somebody who was killed while he wrote it. */
  async #remove(name: string): Promise<void> {
    for (const file of [name, `${name}.new`]) await rm(join(this.#folder, file), { force: true });
  }

  async #replace(name: string, value: unknown): Promise<void> {
    const next = join(this.#folder, `${name}.new`);
    await writeFile(next, JSON.stringify(value), { mode: 0o600 });
    await rename(next, join(this.#folder, name));
  }
}

function readJson<T>(file: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Field 22 of proc_pid_stat(5), behind the name, which may hold anything. */
function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
