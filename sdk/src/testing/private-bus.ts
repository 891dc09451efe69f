// A real dbus-daemon of a test's own.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface PrivateBus extends AsyncDisposable {
  readonly address: string;
  readonly daemon: ChildProcess;
  /** Ends it as a crash would. */
  kill(): Promise<void>;
}

/** Whether dbus-daemon is installed (package `dbus` of Debian). */
export function hasDbusDaemon(): boolean {
  return spawnSync('dbus-daemon', ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Those of a session bus as Debian sets it up; the ones dbus-daemon has of itself are for a bus of many users. */
const SESSION_LIMITS = {
  ...{ max_message_unix_fds: 4096, max_incoming_unix_fds: 250_000_000, max_outgoing_unix_fds: 250_000_000 },
  ...{ max_replies_per_connection: 50_000, max_match_rules_per_connection: 50_000 },
};

export interface PrivateBusOptions {
  /** Those of dbus-daemon(1), such as `{ max_message_size: 1000 }`. */
  readonly limits?: Readonly<Record<string, number>>;
  /** Where it listens; default: in a folder of its own. */
  readonly socket?: string;
}

/** Everybody of this user may do everything on it. Dispose of it to end it. */
export async function startPrivateBus({ limits = {}, socket }: PrivateBusOptions = {}): Promise<PrivateBus> {
  const folder = mkdtempSync(join(tmpdir(), 'private-bus-'));
  const config = join(folder, 'bus.conf');
  writeFileSync(config, configuration(socket ?? join(folder, 'bus'), limits));
  const daemon = spawn('dbus-daemon', [`--config-file=${config}`, '--nofork', '--nopidfile', '--print-address=1'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = new Promise<void>((resolve) => {
    daemon.once('exit', () => resolve());
    daemon.once('error', () => resolve());
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    daemon.kill(signal);
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  const address = await firstLine(daemon, ended);
  if (address === undefined) {
    await end('SIGKILL');
    throw new Error('dbus-daemon does not start; is it installed?');
  }
  return { address, daemon, kill: () => end('SIGKILL'), [Symbol.asyncDispose]: () => end('SIGTERM') };
}

function firstLine(daemon: ChildProcess, ended: Promise<void>): Promise<string | undefined> {
  let text = '';
  const line = new Promise<string>((resolve) => {
    daemon.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
  });
  return Promise.race([line, ended.then(() => undefined)]);
}

function configuration(socket: string, limits: Readonly<Record<string, number>>): string {
  return `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
${Object.entries({ ...SESSION_LIMITS, ...limits })
  .map(([name, value]) => `  <limit name="${name}">${value}</limit>`)
  .join('\n')}
</busconfig>
`;
}
