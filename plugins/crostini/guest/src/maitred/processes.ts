// Programs that maitred runs for the host, and those that it starts with the machine.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Log } from './log.ts';
import { invalid } from './refusal.ts';
import { OUTPUT_MAX } from './system.ts';
import { type LaunchRequest, parseLaunchRequest } from './text-format.ts';

export interface LaunchResult {
  readonly status: 'EXITED' | 'SIGNALED' | 'LAUNCHED' | 'FAILED';
  /** Exit code or number of the signal. */
  readonly code: number;
}

export interface ProcessesOptions {
  readonly log: Log;
  /** One that is started again whenever it ends has ended. */
  readonly onFailure: (name: string) => void;
  /** What a program has written that nobody waits for, line by line. */
  readonly onOutput?: (name: string, line: string) => void;
  readonly console?: string;
}

const DEFAULT_PATH = '/usr/bin:/usr/sbin:/bin:/sbin';
/** Whoever ends more often than this is not started again. */
const RESPAWNS_MAX = 10;
const RESPAWN_WINDOW_MS = 30_000;
/** Of start-up files. */
const FILES_MAX = 64;

export class Processes {
  readonly #options: ProcessesOptions;
  #stopped = false;

  constructor(options: ProcessesOptions) {
    this.#options = options;
  }

  /** From now on nothing is started again. */
  stopRespawning(): void {
    this.#stopped = true;
  }

  /** Every file below a folder, by name. One that cannot be read or started keeps no other from it. */
  async startFrom(folder: string): Promise<void> {
    for (const file of filesBelow(folder)) {
      try {
        const { status } = await this.launch(parseLaunchRequest(readFileSync(file, 'utf8')));
        if (status === 'FAILED') throw new Error('its program cannot be run');
      } catch (e) {
        this.#options.log('error', `${file}: ${(e as Error).message}`);
      }
    }
  }

  /** @throws RpcError when it asks for what cannot be */
  async launch(request: LaunchRequest): Promise<LaunchResult> {
    if (request.argv.length === 0 || request.argv[0] === '') throw invalid('there is no program in argv');
    if (request.respawn && request.wait_for_exit) throw invalid('what is to be started again is not waited for');
    if ([...request.argv, ...request.env.keys(), ...request.env.values()].some((text) => text.includes('\0')))
      throw invalid('argv and env have no NUL bytes');
    const child = this.#spawn(request);
    const started = await whenStarted(child);
    if (!started) return { status: 'FAILED', code: 0 };
    if (!request.wait_for_exit) {
      if (request.respawn) this.#respawnAfter(child, request, []);
      return { status: 'LAUNCHED', code: 0 };
    }
    const output = request.use_console ? undefined : this.#collect(child);
    const result = await ended(child);
    const text = output?.() ?? '';
    if (text !== '') this.#options.log('info', `${basename(request.argv[0] ?? '')}: ${text}`);
    return result;
  }

  #spawn({ argv, env, use_console: useConsole, wait_for_exit: wait }: LaunchRequest): ChildProcess {
    const [file = '', ...args] = argv;
    const terminal = useConsole ? openSync(this.#options.console ?? '/dev/console', 'r+') : undefined;
    const { onOutput } = this.#options;
    const output = wait || onOutput !== undefined ? 'pipe' : 'ignore';
    try {
      const child = spawn(file, args, {
        env: { PATH: DEFAULT_PATH, ...Object.fromEntries(env) },
        // A session of its own: what is meant for others does not reach it.
        detached: true,
        stdio: terminal === undefined ? ['ignore', output, output] : [terminal, terminal, terminal],
      });
      if (!wait && onOutput !== undefined) {
        for (const stream of [child.stdout, child.stderr]) tellLines(stream, (line) => onOutput(basename(file), line));
      }
      return child;
    } finally {
      if (terminal !== undefined) closeSync(terminal);
    }
  }

  /** @param times when it was started again */
  #respawnAfter(child: ChildProcess, request: LaunchRequest, times: readonly number[]): void {
    const name = basename(request.argv[0] ?? '');
    const { log, onFailure } = this.#options;
    child.once('exit', (code, signal) => {
      if (this.#stopped) return;
      log('warning', `${name} ended with ${signal ?? code}`);
      onFailure(name);
      const now = Date.now();
      const recent = times.filter((time) => now - time < RESPAWN_WINDOW_MS);
      if (recent.length >= RESPAWNS_MAX) {
        log('error', `${name} ended ${RESPAWNS_MAX} times in ${RESPAWN_WINDOW_MS / 1000} s, and is left alone`);
        return;
      }
      const next = this.#spawn(request);
      next.once('error', (e) => log('error', `${name}: ${e.message}`));
      this.#respawnAfter(next, request, [...recent, now]);
    });
  }

  #collect(child: ChildProcess): () => string {
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text.slice(0, OUTPUT_MAX - output.length);
      });
    }
    return () => output;
  }
}

/** Letters of a line that is not ended. */
const LINE_MAX = 4096;

function tellLines(stream: Readable | null, tell: (line: string) => void): void {
  let rest = '';
  stream?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') tell(line);
    if (rest.length <= LINE_MAX) return;
    tell(rest);
    rest = '';
  });
  stream?.on('error', () => {});
  stream?.on('end', () => {
    if (rest !== '') tell(rest);
  });
}

function whenStarted(child: ChildProcess): Promise<boolean> {
  return new Promise((resolve) => {
    child.once('spawn', () => resolve(true));
    child.on('error', () => resolve(false));
  });
}

function ended(child: ChildProcess): Promise<LaunchResult> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) =>
      resolve(
        signal === null
          ? { status: 'EXITED', code: code ?? 0 }
          : { status: 'SIGNALED', code: constants.signals[signal] },
      ),
    );
  });
}

function filesBelow(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .slice(0, FILES_MAX);
  } catch {
    // There are none.
    return [];
  }
}
