// Commands of Debian which images are made with. Each is named with the package it is in, so that one that is lacking
// can be told with what to install.

import { spawn } from 'node:child_process';
import { errors } from '../errors.ts';

/** Command → Debian package. */
const PACKAGE_OF = {
  'apt-get': 'apt',
  'apt-cache': 'apt',
  'dpkg-deb': 'dpkg',
  xz: 'xz-utils',
  lz4: 'lz4',
  bzip2: 'bzip2',
  'mkfs.erofs': 'erofs-utils',
  tar: 'tar',
} as const;

export type Tool = keyof typeof PACKAGE_OF;

export interface RunOptions {
  /** What the command is run for, as in "is needed for <what>". */
  readonly what: string;
  readonly cwd?: string;
  readonly input?: Uint8Array;
  /** Most of standard output that is kept, in bytes; more is an error. Default 256 MiB. */
  readonly limit?: number;
  readonly hint?: string;
  readonly signal?: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
}

/** Last lines of what a command complained about; it goes into an error message. */
const COMPLAINT_BYTES = 4096;

/**
 * Runs a command in the C locale and gives its standard output.
 * @throws SDK_ERR_IMAGE_TOOL when it is not installed, SDK_ERR_IMAGE_COMMAND when it fails
 */
export async function run(tool: Tool, args: readonly string[], options: RunOptions): Promise<Buffer> {
  const limit = options.limit ?? 256 * 1024 * 1024;
  // Some lie in sbin, which is not on the path of every user.
  const path = `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`;
  const child = spawn(tool, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', LANGUAGE: '', ...options.env, PATH: path },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const output: Buffer[] = [];
  let size = 0;
  let complaint = '';
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= limit) return void output.push(chunk);
    child.kill('SIGKILL');
    // Whatever it started may hold the other end, and would never notice.
    child.stdout.destroy();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-COMPLAINT_BYTES);
  });
  // A command may end before it has read everything; how it ended tells more than EPIPE.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input);
  const failed = (why: string, cause?: unknown) =>
    errors.SDK_ERR_IMAGE_COMMAND({
      details: {
        command: tool,
        what: options.what,
        why,
        hint: options.hint ?? `See what it says: ${[tool, ...args].join(' ').slice(0, 500)}`,
      },
      ...(cause === undefined ? {} : { cause }),
    });
  return new Promise((resolve, reject) => {
    child.once('error', (e: NodeJS.ErrnoException) => {
      if (e.code !== 'ENOENT') return reject(failed(e.message, e));
      reject(errors.SDK_ERR_IMAGE_TOOL({ details: { tool, what: options.what, package: PACKAGE_OF[tool] } }));
    });
    child.once('close', (code, killedBy) => {
      if (code === 0) return resolve(Buffer.concat(output));
      if (size > limit) return reject(failed(`it wrote more than ${limit} bytes`));
      const said = complaint.trim().split('\n').slice(-3).join(' ');
      reject(failed(said || (killedBy === null ? `it exited with ${code}` : `it was ended by ${killedBy}`)));
    });
  });
}
