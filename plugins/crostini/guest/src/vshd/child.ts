// The process behind one connection: on a terminal of its own, or on three pipes.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { pipe } from '@runtime/sdk/linux';
import type { Launch, WindowSize } from './launch.ts';
import { foregroundGroup, openPty, PtyStream, setWindowSize } from './pty.ts';

export interface Child {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Undefined on a terminal, which has one output. */
  readonly stderr: Readable | undefined;
  /** Of the process, not of its output. 128 and the number of the signal that ended it. */
  readonly exit: Promise<number>;
  /** Nothing happens on pipes. */
  resize(size: WindowSize): void;
  /** To the foreground group of the terminal, or to the group of the process. */
  signal(signal: NodeJS.Signals): void;
  /** Takes its terminal or its pipes away, and tells it so with SIGHUP. */
  hangUp(): void;
}

/** @throws what prevents it */
export function startChild(launch: Launch): Promise<Child> {
  return launch.pty === undefined ? startOnPipes(launch) : startOnPty(launch, launch.pty);
}

async function startOnPty(launch: Launch, size: WindowSize): Promise<Child> {
  const { master, slave } = openPty(launch.account.uid);
  let stream: PtyStream | undefined;
  try {
    setWindowSize(master, size);
    // In the same process, setsid(1) makes the session and takes the terminal, which Node cannot.
    const argv = ['setsid', '--ctty', ...asUser(launch)];
    const process = await started(argv, { ...base(launch), stdio: [slave, slave, slave] });
    stream = new PtyStream(master);
    const terminal = stream;
    return {
      ...{ ...process, stdin: terminal, stdout: terminal, stderr: undefined },
      resize: (next) => !terminal.destroyed && setWindowSize(master, next),
      signal: (signal) => {
        const group = terminal.destroyed ? undefined : foregroundGroup(master);
        send(group === undefined ? process.pid : -group, signal);
      },
      // The kernel sends SIGHUP when the master goes.
      hangUp: () => void terminal.destroy(),
    };
  } finally {
    closeSync(slave);
    if (stream === undefined) closeSync(master);
  }
}

async function startOnPipes(launch: Launch): Promise<Child> {
  const [stdin, stdout, stderr] = [pipe(), pipe(), pipe()];
  const [ours, theirs] = [
    [stdin.write, stdout.read, stderr.read],
    [stdin.read, stdout.write, stderr.write],
  ];
  try {
    const process = await started(asUser(launch), { ...base(launch), stdio: theirs, detached: true });
    const input = new Socket({ fd: stdin.write, readable: false, writable: true });
    const [output, errors] = [stdout.read, stderr.read].map(
      (fd) => new Socket({ fd, readable: true, writable: false }),
    );
    ours.length = 0;
    return {
      ...{ ...process, stdin: input, stdout: output as Socket, stderr: errors as Socket },
      resize: () => {},
      signal: (signal) => send(-process.pid, signal),
      hangUp: () => {
        for (const end of [input, output, errors]) end?.destroy();
        send(-process.pid, 'SIGHUP');
      },
    };
  } finally {
    for (const fd of [...theirs, ...ours]) closeSync(fd);
  }
}

/** libuv's own change of user would drop the user's groups. */
function asUser({ argv, account: { uid, gid } }: Launch): readonly string[] {
  if (uid === process.getuid?.()) return argv;
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--', ...argv];
}

function base({ env, cwd }: Launch): SpawnOptions {
  return { env, cwd };
}

async function started(argv: readonly string[], options: SpawnOptions): Promise<Pick<Child, 'pid' | 'exit'>> {
  const [program = '', ...args] = argv;
  const child: ChildProcess = spawn(program, args, options);
  const exit = new Promise<number>((resolve) => {
    child.on('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']));
  });
  await new Promise<void>((resolve, reject) => {
    child.on('spawn', resolve);
    child.on('error', reject);
  });
  return { pid: child.pid as number, exit };
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has gone, which its exit tells.
  }
}
