// One round of a storm of faults: something is under way, somebody is killed, and everything is looked at afterwards.

import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createZstdDecompress } from 'node:zlib';
import { seededRandom } from '@runtime/sdk/testing';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';
import { type Footprint, footprint, growthOf, problemsOf } from './census.ts';
import type { DiskRow, Subject } from './subject.ts';

export const VICTIMS = ['runtime', 'maitred', 'guest', 'device', 'machine'] as const;
export type Victim = (typeof VICTIMS)[number];
export const MOMENTS = ['start', 'resize', 'export', 'import', 'stop'] as const;
export type Moment = (typeof MOMENTS)[number];

export interface Round {
  readonly seed: number;
  readonly victim: Victim;
  readonly moment: Moment;
}

export interface Verdict extends Round {
  /** Between the beginning and the kill. */
  readonly afterMs: number;
  /** What became of what was under way: `done`, or the code of its error. */
  readonly outcome: string;
  /** Nobody was there to be killed: too early, or too late. */
  readonly missed: boolean;
  /** In words; none: all is well. */
  readonly problems: readonly string[];
  readonly seconds: number;
}

/**
 * Those that no process of the host is. No signal ends the first process of a guest, proc_pid_mem(5) does: its next call of
 * the C library meets zeros.
 */
const FROM_INSIDE: Readonly<Partial<Record<Victim, string>>> = {
  guest: 'echo c > /proc/sysrq-trigger',
  maitred:
    // biome-ignore lint/suspicious/noTemplateCurlyInString: for the shell
    "range=$(sed -n '/r-xp.*libc\\.so/{s/ .*//p;q}' /proc/1/maps); start=$((0x${range%-*})); end=$((0x${range#*-})); " +
    'dd if=/dev/zero of=/proc/1/mem bs=4096 seek=$((start / 4096)) count=$(((end - start) / 4096)) conv=notrunc',
};

const MIB = 2 ** 20;
const SMALL = 512 * MIB;
const LARGE = 768 * MIB;
/** Has a disk, on which a token is kept. */
const KEEPER = 'a';
/** Of the fast image: has nothing to lose, and starts sooner. */
const FAST = 'f';
const COPY = 'b';
/** What takes longer hangs. */
const HANG_MS = 120_000;
const GONE_MS = 30_000;
/** So soon a runtime knows that a machine has ended. */
const NOTICE_MS = 1_000;
/** How long each takes at first; later as it took. */
const USUAL_MS: Readonly<Record<Moment, number>> = {
  start: 8_000,
  resize: 3_000,
  export: 2_000,
  import: 2_000,
  stop: 2_500,
};

export class Storm {
  readonly #subject: Subject;
  readonly #usualMs: Record<Moment, number> = { ...USUAL_MS };
  readonly #export: string;
  readonly #source: string;
  /** Was synced to the disk of the keeper. */
  #token: string | undefined;
  #sourceHash = '';
  #fresh: Footprint | undefined;
  /** Nobody writes to the disk that is exported. */
  #isStill = false;

  constructor(subject: Subject) {
    this.#subject = subject;
    this.#export = join(subject.folder, 'export.zst');
    this.#source = join(subject.folder, 'source.zst');
  }

  /** Starts the runtime, and makes the disk that everything is done to. */
  async prepare(): Promise<void> {
    await this.#subject.start();
    this.#fresh = await footprint(this.#subject);
    await this.#subject.command('disk create', [KEEPER, '512M'], { allocation: 'sparse' });
    await this.#start(KEEPER);
    await this.#writeToken();
    await this.#subject.command('disk export', [KEEPER, this.#source], { force: true });
    this.#sourceHash = await hashOf(this.#source);
  }

  async play(round: Round): Promise<Verdict> {
    const begun = performance.now();
    const random = seededRandom(round.seed);
    const vm = this.#vmOf(round, random(2) === 0);
    const problems: string[] = [];
    let strike: Strike = { afterMs: 0, missed: true, outcome: 'not begun' };
    try {
      await this.#arrange(round, vm);
      strike = await this.#strike(round, vm, random);
      if (strike.outcome === 'hangs') problems.push(`${round.moment} did not end within ${HANG_MS / 1_000} s`);
      if (!this.#subject.alive) await this.#subject.start();
      problems.push(...(await this.#look(vm)));
    } catch (e) {
      problems.push(e instanceof Error ? `${e.message}${codeOf(e)}` : String(e));
      if (!this.#subject.alive) await this.#subject.start();
    }
    const seconds = Math.round((performance.now() - begun) / 100) / 10;
    return { ...round, ...strike, problems, seconds };
  }

  /** Only for a start and a stop a VM without a disk will do. */
  #vmOf({ moment }: Round, coin: boolean): string {
    return coin && (moment === 'start' || moment === 'stop') ? FAST : KEEPER;
  }

  async #arrange({ moment, victim }: Round, vm: string): Promise<void> {
    const runs = (await this.#subject.vms()).some(({ name }) => name === vm);
    if (moment === 'start') {
      if (runs && vm === KEEPER) await this.#writeToken();
      if (runs) await this.#subject.command('stop', [vm]);
      return;
    }
    if (!runs) await this.#start(vm);
    if (vm === KEEPER) await this.#writeToken();
    // Then no process of the VM can be killed; the others export one that runs.
    this.#isStill = moment === 'export' && victim === 'runtime';
    if (this.#isStill) await this.#subject.command('stop', [vm]);
  }

  async #start(vm: string): Promise<void> {
    await this.#subject.command('start', [vm], { profile: vm === FAST ? 'fast' : 'full' });
  }

  async #writeToken(): Promise<void> {
    const token = randomBytes(16).toString('hex');
    // Until it is synced either may be there.
    this.#token = undefined;
    await this.#subject.inGuest(KEEPER, `echo ${token} > /mnt/stateful/token && sync /mnt/stateful/token`);
    this.#token = token;
  }

  // The fault

  async #strike({ victim, moment }: Round, vm: string, random: (below: number) => number): Promise<Strike> {
    const afterMs = random(Math.ceil(this.#usualMs[moment]));
    const begun = performance.now();
    let over = false;
    let tookMs = 0;
    const action = this.#act(moment, vm).then(
      () => 'done',
      (e: unknown) => codeOf(e) || String(e),
    );
    void action.then(() => {
      over = true;
      tookMs = performance.now() - begun;
    });
    await sleep(afterMs);
    const missed = !(await this.#kill(victim, vm, random, () => over));
    const outcome = await Promise.race([action, sleep(HANG_MS, 'hangs', { ref: false })]);
    if (missed && outcome === 'done') this.#usualMs[moment] = tookMs;
    return { afterMs, missed, outcome };
  }

  async #act(moment: Moment, vm: string): Promise<void> {
    const subject = this.#subject;
    if (moment === 'start') return this.#start(vm);
    if (moment === 'stop') return void (await subject.command('stop', [vm]));
    if (moment === 'import') return void (await subject.command('disk import', [COPY, this.#source]));
    if (moment === 'export') {
      const digest = `${this.#export}.sha256`;
      return void (await subject.command('disk export', [vm, this.#export], { force: true, digest }));
    }
    const [disk] = (await subject.disks()).filter((one) => one.vm === vm);
    const bytes = disk?.bytes === SMALL ? LARGE : SMALL;
    await subject.command('disk resize', [vm, `${bytes / MIB}M`]);
  }

  /** False: nobody was there. @param over the action has ended */
  async #kill(victim: Victim, vm: string, random: (below: number) => number, over: () => boolean): Promise<boolean> {
    if (victim === 'runtime') {
      const late = over();
      await this.#subject.kill();
      return !late;
    }
    for (;;) {
      const late = over();
      const pids = await this.#pidsOf(victim === 'device' ? `t-${vm}/` : `vm/t-${vm}/`);
      const pid = pids[random(Math.max(1, pids.length))];
      const script = FROM_INSIDE[victim];
      if (script !== undefined && pid !== undefined && (await this.#runInside(vm, script))) {
        await this.#untilGone(vm);
        return !late;
      }
      if (script === undefined && pid !== undefined) {
        process.kill(pid, 'SIGKILL');
        return !late;
      }
      if (late) return false;
      await sleep(50);
    }
  }

  async #pidsOf(prefix: string): Promise<readonly number[]> {
    const { processes } = await this.#subject.inspect();
    return processes.flatMap(({ key, pid }) => (key.startsWith(prefix) && pid !== undefined ? [pid] : []));
  }

  /** A guest takes its time to die, and the runtime to notice. */
  async #untilGone(vm: string): Promise<void> {
    const until = Date.now() + GONE_MS;
    while ((await this.#subject.vms()).some(({ name }) => name === vm) && Date.now() < until) await sleep(100);
  }

  /** False: the guest cannot be reached. */
  async #runInside(vm: string, command: string): Promise<boolean> {
    try {
      const info = (await this.#subject.command('vm inspect', [`t-${vm}`])) as { readonly directory: string };
      const socketPath = join(info.directory, 'vsock.sock.g9001');
      using session = await openVsh({ socketPath, user: 'root', command, connectMs: 2_000 });
      await Promise.race([session.exit.catch(() => {}), sleep(5_000)]);
      return true;
    } catch {
      return false;
    }
  }

  // Afterwards

  async #look(vm: string): Promise<readonly string[]> {
    const subject = this.#subject;
    const silent: string[] = [];
    for (const { name } of await this.#steady()) if (!(await subject.answers(name))) silent.push(name);
    // One whose runtime was killed while it stopped may have run a moment longer.
    const vms = (await this.#steady()).map(({ name }) => name);
    const problems = silent
      .filter((name) => vms.includes(name))
      .map((name) => `VM ${name} is listed, and does not answer`);
    problems.push(...(await this.#lookAtFiles()));
    problems.push(...(await problemsOf(subject, vms)));
    if (vms.length === 0 && this.#fresh !== undefined)
      problems.push(...growthOf(await footprint(subject), this.#fresh));
    // A disk that nobody has used is as it was.
    if (vm === KEEPER || vms.includes(KEEPER)) problems.push(...(await this.#lookAtData(vms)));
    return problems;
  }

  /** Once nothing is under way, and what has ended is noticed. */
  async #steady(): Promise<Awaited<ReturnType<Subject['vms']>>> {
    const until = Date.now() + HANG_MS;
    await sleep(NOTICE_MS);
    for (;;) {
      const vms = await this.#subject.vms();
      if (vms.every(({ state }) => state === 'running')) return vms;
      if (Date.now() > until)
        throw new Error(`VMs stay ${vms.map(({ name, state }) => `${name} ${state}`).join(', ')}`);
      await sleep(100);
    }
  }

  async #lookAtFiles(): Promise<readonly string[]> {
    const problems: string[] = [];
    const disks = await this.#subject.disks();
    const copy = disks.find(({ vm }) => vm === COPY);
    const keeper = disks.find(({ vm }) => vm === KEEPER);
    if (copy !== undefined) {
      const again = join(this.#subject.folder, 'again.zst');
      await this.#subject.command('disk export', [COPY, again]);
      if ((await hashOf(again)) !== this.#sourceHash) problems.push('what was imported is not what it was made of');
      rmSync(again);
      await this.#subject.command('disk destroy', [COPY]);
    }
    if (existsSync(this.#export)) {
      const digest = `${this.#export}.sha256`;
      const said = existsSync(digest) ? readFileSync(digest, 'utf8').trim().toLowerCase() : undefined;
      if (said !== undefined && said !== (await hashOf(this.#export)))
        problems.push('the export is not what its digest says');
      if (keeper !== undefined) problems.push(...(await this.#lookAtExport(keeper)));
    }
    for (const path of [this.#export, `${this.#export}.sha256`]) rmSync(path, { force: true });
    const jobs = (await this.#subject.command('disk status')) as readonly {
      readonly state: string;
      readonly kind: string;
    }[];
    for (const { kind } of jobs.filter(({ state }) => state === 'running')) problems.push(`a job (${kind}) still runs`);
    if (keeper === undefined) problems.push('the disk has gone');
    else if (keeper.bytes !== SMALL && keeper.bytes !== LARGE) problems.push(`the disk has ${keeper.bytes} bytes`);
    else if (statSync(keeper.path).size !== keeper.bytes) problems.push('the image has another size than the disk');
    return problems;
  }

  /** An export that is there is all of the disk. */
  async #lookAtExport({ path, bytes }: DiskRow): Promise<readonly string[]> {
    const content = await contentOf(this.#export);
    if (typeof content === 'string') return [`the export cannot be read: ${content}`];
    if (content.bytes !== bytes) return [`the export has ${content.bytes} bytes of ${bytes}`];
    if (this.#isStill && content.hash !== (await hashOf(path))) return ['the export is not what is on the disk'];
    return [];
  }

  async #lookAtData(vms: readonly string[]): Promise<readonly string[]> {
    if (!vms.includes(KEEPER)) await this.#start(KEEPER);
    const found = await this.#subject.inGuest(KEEPER, 'cat /mnt/stateful/token');
    const problems = this.#token === undefined || found === this.#token ? [] : [`synced data is lost: "${found}"`];
    const [size] = (await this.#subject.disks()).filter(({ vm }) => vm === KEEPER);
    const inside = Number(
      await this.#subject.inGuest(
        KEEPER,
        "btrfs filesystem usage -b /mnt/stateful | awk '/Device size/ {print $3; exit}'",
      ),
    );
    if (size === undefined || inside > size.bytes)
      problems.push(`the file system has ${inside} bytes of ${size?.bytes}`);
    return problems;
  }
}

interface Strike {
  readonly afterMs: number;
  readonly missed: boolean;
  readonly outcome: string;
}

const codeOf = (e: unknown): string => {
  const { code } = e as { readonly code?: unknown };
  return typeof code === 'string' ? ` ${code}` : '';
};

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** Of all frames; read by zstd itself. A text: why it cannot be. */
async function contentOf(path: string): Promise<{ readonly hash: string; readonly bytes: number } | string> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    await pipeline(createReadStream(path), createZstdDecompress(), async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        hash.update(chunk);
        bytes += chunk.length;
      }
    });
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
  return { hash: hash.digest('hex'), bytes };
}
