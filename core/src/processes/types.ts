// The contract of supervised children. A plugin starts processes only through this, so that sandbox can jail them,
// core-sched can tag them, and none is left behind.

import type { Readable, Writable } from 'node:stream';
import { defineHook, type HookToken } from '../tokens.ts';

/** How a child says that it is ready. */
export type ReadySignal =
  /** Ready as soon as exec succeeded. */
  | 'spawn'
  /** Writes `READY=1\n` to the descriptor named by the variable RUNTIME_READY_FD (as sd_notify does on a socket). */
  | 'notify'
  /** The first line of its output that matches; not together with `stdio: 'pipe'`. */
  | { readonly line: RegExp };

/** What becomes of a child that ends without being asked to. */
export interface RestartPolicy {
  readonly when: 'never' | 'on-failure' | 'always';
  /** First delay in ms; doubles at each failure up to `maxMs`, with jitter. Default 100. */
  readonly backoffMs?: number;
  /** Default 30,000. */
  readonly maxMs?: number;
  /** This many ends within `windowMs` are a crash loop: it stays down. Default 5. */
  readonly crashLimit?: number;
  /** Default 60,000. */
  readonly windowMs?: number;
}

/**
 * A descriptor for the child: its number there (3 to 255), and the one here (left open here; the caller keeps it, for as
 * long as the child may be started again).
 */
export interface ChildFd {
  readonly child: number;
  readonly parent: number;
}

/** Soft and hard limit as in getrlimit(2); `'unlimited'` is RLIM_INFINITY. Raising the hard one needs privileges. */
export interface Rlimit {
  /** `RLIMIT_NOFILE` or `nofile`. */
  readonly resource: string;
  readonly soft: bigint | 'unlimited';
  readonly hard: bigint | 'unlimited';
}

/**
 * Everything about a child before it exists. It travels through the waterfall hook `process/before-spawn`; each tap
 * returns a changed copy. `jail` is opaque to the core: the sandbox plugin turns it into `argv`, `env` and `fds`.
 */
export interface SpawnPlan {
  /** Stable and unique per plugin: what the child is re-adopted, parked and found by. */
  readonly key: string;
  /** Owner plugin. */
  readonly plugin: string;
  /** What sort of process it is (`device`, `renderer`, `9s`, …): what policies are chosen by. */
  readonly kind: string;
  readonly argv: readonly [file: string, ...args: string[]];
  /**
   * The whole environment; nothing is inherited that is not named here. RUNTIME_CHILD is set in any case. With
   * RUNTIME_READY_FD the child has one more descriptor than `fds` says, of that number: a jail must let it through.
   */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly fds: readonly ChildFd[];
  /** Opaque to the core. A tap that honours it sets it to `undefined`. */
  readonly jail?: unknown;
  /** `true`: refuse to start when nobody honoured `jail`. `false`: start and warn. */
  readonly jailRequired: boolean;
  /** Folder of a cgroup that exists; the child is moved there before it is reported ready. */
  readonly cgroup?: string;
  readonly rlimits: readonly Rlimit[];
}

/**
 * Asked before a child is started, also before each restart. A tap returns a changed copy of the plan, or nothing; one that
 * throws keeps the child from starting.
 */
export const beforeSpawn: HookToken<'waterfall', readonly [plan: SpawnPlan], SpawnPlan> = defineHook<
  readonly [plan: SpawnPlan],
  SpawnPlan
>()('process/before-spawn', 'waterfall', ['plan']);

export interface SpawnRequest {
  readonly key: string;
  readonly kind: string;
  readonly argv: readonly [file: string, ...args: string[]];
  /** Added to a minimal environment (PATH, LANG, HOME, XDG_RUNTIME_DIR). */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly fds?: readonly ChildFd[];
  readonly jail?: unknown;
  readonly jailRequired?: boolean;
  readonly cgroup?: string;
  readonly rlimits?: readonly Rlimit[];
  readonly ready?: ReadySignal;
  /** Deadline for `ready`; default 10,000 ms. */
  readonly readyMs?: number;
  /** First step of the stop ladder; SIGTERM and SIGKILL follow. Default: nothing but the signals. */
  readonly ask?: (child: ManagedProcess) => void | Promise<void>;
  /** Milliseconds for each rung: ask, SIGTERM and SIGKILL to its process group. Default 2,000 / 3,000 / 2,000. */
  readonly stopMs?: { readonly ask?: number; readonly term?: number; readonly kill?: number };
  /** For a child that has been ready once; a first start that fails is told to the caller of spawn() instead. */
  readonly restart?: RestartPolicy;
  /**
   * Lives on when the plugin is unloaded or the runtime ends, in whatever way, once it is ready; the next runtime finds it
   * again. Its output goes to a file, which is put aside at its start when it has more than 4 MiB.
   */
  readonly detached?: boolean;
  /** `pipe`: `child.stdin` and `child.stdout` are the caller's; standard error is still captured. Default `log`. */
  readonly stdio?: 'log' | 'pipe';
  /** JSON, at most 1 MiB, kept with a detached child in the state directory and given back when it is found again. */
  readonly data?: unknown;
}

export type ProcessState = 'starting' | 'ready' | 'stopping' | 'backoff' | 'exited' | 'crash-loop';

export interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ManagedProcess {
  readonly key: string;
  readonly plugin: string;
  readonly kind: string;
  /** Of the current incarnation; `undefined` between two. */
  readonly pid: number | undefined;
  readonly state: ProcessState;
  readonly restarts: number;
  readonly detached: boolean;
  readonly data: unknown;
  /** Only with `stdio: 'pipe'`. */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  /** The last lines of its output, oldest first; bounded. */
  readonly log: readonly string[];
  /** Settles when it ended for good (no restart follows). Never rejects. */
  readonly exited: Promise<ExitStatus>;
  /** Resolves with the next incarnation that becomes ready, or at once when it is. */
  ready(): Promise<void>;
  /** To this very process and no later one of the same pid. False when it is gone. */
  kill(signal: NodeJS.Signals): boolean;
  /** The stop ladder. Idempotent. */
  stop(): Promise<ExitStatus>;
}

export interface ProcessSupervisor {
  /**
   * Starts a child and waits until it is ready. When this plugin already holds a live child under `key` (parked by a
   * reload, or found again after a restart of the runtime), that one is returned instead and nothing is started: `ask`,
   * `stopMs` and `restart` count from now on; argv, env, fds, stdio and limits from its next start; kind, data and detached
   * stay as they are.
   * @throws CORE_ERR_SPAWN, CORE_ERR_SPAWN_PLAN, CORE_ERR_PROCESS_READY, CORE_ERR_PROCESS_EXITED, CORE_ERR_PROCESS_LIMIT
   */
  spawn(request: SpawnRequest): Promise<ManagedProcess>;
  /** Children of this plugin, detached ones that wait to be claimed included. */
  list(): readonly ManagedProcess[];
}

declare module '../events.ts' {
  interface EventMap {
    /** A child was started; it is not ready yet. Each restart is a start of its own. */
    'process:started': { readonly plugin: string; readonly key: string; readonly kind: string; readonly pid: number };
    /** A child is ready, by the signal its plugin asked for. */
    'process:ready': { readonly plugin: string; readonly key: string; readonly pid: number };
    /** A detached child of an earlier runtime was found again. */
    'process:adopted': { readonly plugin: string; readonly key: string; readonly pid: number };
    /** A child has ended. `code` or `signal` is `null`, as waitpid(2) tells. */
    'process:exited': {
      readonly plugin: string;
      readonly key: string;
      readonly pid: number;
      readonly code: number | null;
      readonly signal: string | null;
      /** It was asked to end. */
      readonly expected: boolean;
    };
    /** A child ended too often and is not started again. */
    'process:crash-loop': { readonly plugin: string; readonly key: string; readonly count: number };
  }
}
