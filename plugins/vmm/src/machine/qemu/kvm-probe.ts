// Does KVM truly run guests here? That /dev/kvm is there says little: behind it may be a hypervisor in software, on which
// Linux does not get to user space. So a tiny guest is run and timed.

import { accessSync, constants, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Logger, type ProcessSupervisor, sleep, systemClock } from '@runtime/sdk';
import { imageCache, writeWhole } from '@runtime/sdk/image';
import { z } from 'zod';
import { PROBE_EXIT, PROBE_INSTRUCTIONS, probeArguments, probeRom } from './probe-guest.ts';

export interface KvmProbeOptions {
  readonly processes: ProcessSupervisor;
  readonly log: Logger;
  readonly device?: string;
  /** Where the answer is kept; default: in the cache of the user. */
  readonly file?: string;
}

export interface ProbeResult {
  readonly works: boolean;
  /** In words. */
  readonly why: string;
}

/** Instructions in a second; software manages some 2 million of them, hardware thousands of millions. */
const LEAST_RATE = 50_000_000;
/** QEMU's own start. */
const START_MS = 1_000;
const LIMIT_MS = START_MS + (PROBE_INSTRUCTIONS / LEAST_RATE) * 1000;

const stored = z.object({ key: z.string(), works: z.boolean(), why: z.string() });

export class KvmProbe {
  readonly #options: KvmProbeOptions;
  readonly #device: string;
  #answer: { readonly key: string; readonly result: Promise<ProbeResult> } | undefined;

  constructor(options: KvmProbeOptions) {
    this.#options = options;
    this.#device = options.device ?? '/dev/kvm';
  }

  /** Asked once since the computer was started, for each version of QEMU. Never rejects. @param program path of QEMU */
  async result(program: string): Promise<ProbeResult> {
    try {
      accessSync(this.#device, constants.R_OK | constants.W_OK);
    } catch (e) {
      const missing = (e as NodeJS.ErrnoException).code === 'ENOENT';
      return {
        works: false,
        why: missing ? `there is no ${this.#device}` : `${this.#device} may not be used by this user`,
      };
    }
    const key = probeKey(program, this.#device);
    if (this.#answer?.key !== key) this.#answer = { key, result: this.#remembered(program, key) };
    return this.#answer.result;
  }

  async works(program: string): Promise<boolean> {
    return (await this.result(program)).works;
  }

  async #remembered(program: string, key: string): Promise<ProbeResult> {
    const { log, file = join(dirname(imageCache()), 'kvm-probe.json') } = this.#options;
    const before = stored.safeParse(readJson(file));
    if (before.success && before.data.key === key) return { works: before.data.works, why: before.data.why };
    const result = await this.#run(program).catch((err: Error) => ({ works: false, why: err.message }));
    log.info({ ...result }, result.works ? 'KVM runs guests' : `KVM is not used: ${result.why}`);
    try {
      writeWhole(
        file,
        `${JSON.stringify({ key, ...result })}
`,
      );
    } catch (err) {
      log.warn({ err }, 'the answer was not kept');
    }
    return result;
  }

  async #run(program: string): Promise<ProbeResult> {
    const folder = mkdtempSync(join(tmpdir(), 'kvm-probe-'));
    const rom = join(folder, 'probe.rom');
    try {
      writeFileSync(rom, probeRom());
      const child = await this.#options.processes.spawn({
        key: 'kvm-probe',
        kind: 'vm',
        argv: [program, ...probeArguments(rom, 'kvm')],
        stopMs: { ask: 0, term: 0 },
      });
      const late = new AbortController();
      const limit = sleep(systemClock, LIMIT_MS, late.signal).then(
        () => undefined,
        () => undefined,
      );
      const status = await Promise.race([child.exited, limit]);
      late.abort();
      if (status === undefined) {
        await child.stop();
        return { works: false, why: `a guest of ${PROBE_INSTRUCTIONS} instructions was not done after ${LIMIT_MS} ms` };
      }
      if (status.code === PROBE_EXIT) return { works: true, why: 'a guest ran at full speed' };
      const said = child.log.at(-1) ?? 'QEMU said nothing';
      return { works: false, why: `a tiny guest did not get to its end (${said})` };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

/** Changes when the computer, QEMU or KVM starts anew or is replaced. */
function probeKey(program: string, device: string): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const { mtimeMs, size } = statSync(program);
  const { rdev, ctimeMs } = statSync(device);
  return [boot, program, mtimeMs, size, rdev, ctimeMs].join(' ');
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}
