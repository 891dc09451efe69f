// `runtime cp`: files and folders to a guest and from it, as archives through a command.

import { randomBytes } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { isRuntimeError } from '@runtime/sdk/errors';
import { errors } from '../errors.ts';
import { pack, survey } from '../tar/pack.ts';
import { type Unpacked, unpack } from '../tar/unpack.ts';
import { openVsh, type VshSession } from '../vsh/client.ts';

/** The Unix socket of a VM's vsh. */
type SocketOf = (vm: string) => Promise<string>;

export interface GuestPath {
  readonly vm: string;
  readonly path: string;
}

export interface CopyOptions {
  readonly socketPath: string;
  readonly user: string;
  readonly signal: AbortSignal;
  /** `total` is not known of what comes from a guest. */
  readonly onProgress?: (bytes: number, total: number | undefined) => void;
}

/** Progress is told at most so often, ms. */
const TELL_MS = 100;
/** Of what a program of the guest says about its failure. */
const COMPLAINT_MAX = 300;

export function addCp(commands: CommandRegistry, socketOf: SocketOf): void {
  commands.add(
    {
      name: 'cp',
      summary: 'copy files and folders to a VM or from one',
      description:
        'One of the two is NAME:PATH, in the VM called NAME; a path there that does not begin with / is beneath the home ' +
        'of the user. A folder that exists takes the copy into it. Of what comes from a VM, devices and links that lead ' +
        'out of the copy are left out.',
      args: [
        { name: 'source', summary: 'PATH or NAME:PATH', required: true },
        { name: 'target', summary: 'NAME:PATH or PATH', required: true },
      ],
      options: { user: { type: 'string', short: 'u', summary: 'user in the guest; default chronos' } },
    },
    async ({ args: [source = '', target = ''], options: { user = '' }, io, signal }) => {
      const [from, to] = [guestPath(source), guestPath(target)];
      if ((from === undefined) === (to === undefined)) {
        throw failed(source, 'exactly one of the two has to be NAME:PATH');
      }
      const guest = (from ?? to) as GuestPath;
      const copy = { socketPath: await socketOf(guest.vm), user, signal, onProgress: teller(io) };
      try {
        if (to !== undefined) await copyIn(resolve(io.cwd, source), to.path, copy);
        else await report(await copyOut(guest.path, resolve(io.cwd, target), target.endsWith('/'), copy), io);
      } catch (e) {
        // What files of the host have to say against it.
        if (e instanceof Error && 'syscall' in e && !isRuntimeError(e)) throw failed(source, e.message);
        throw e;
      }
    },
  );
}

/** As scp has it: what has a slash before its colon is a path of the host. */
export function guestPath(text: string): GuestPath | undefined {
  const [, vm, path] = /^([^/:]+):(.*)$/s.exec(text) ?? [];
  return vm === undefined || path === undefined ? undefined : { vm, path: path === '' ? '.' : path };
}

/** @throws CROSTINI_ERR_COPY, errors of openVsh() and node:fs */
export async function copyIn(source: string, target: string, options: CopyOptions): Promise<void> {
  const isInto = target.endsWith('/') || (await isGuestFolder(target, options));
  const [folder, name] = isInto ? [target, basename(source)] : [posix.dirname(target), posix.basename(target)];
  const found = await survey(source, name);
  if (found.length === 0 || name === '') throw failed(source, 'it is neither a file nor a folder');
  const total = found.reduce((sum, { header }) => sum + header.size, 0);
  const session = await open(['tar', '-C', folder, '--no-same-owner', '-xpf', '-'], options);
  session.stdout.resume();
  const complaint = complaintOf(session);
  let bytes = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of pack(found)) {
      yield chunk;
      bytes += chunk.length;
      options.onProgress?.(Math.min(bytes, total), total);
    }
  };
  // What tar says is worth more than that it did not listen to the end.
  const [sent, code] = await Promise.allSettled([
    pipeline(Readable.from(counted(), { objectMode: false }), session.stdin).catch((e: unknown) => {
      if (isOfHost(e)) session[Symbol.dispose]();
      throw e;
    }),
    session.exit,
  ]);
  if (sent.status === 'rejected' && isOfHost(sent.reason)) throw sent.reason;
  if (code.status === 'rejected') throw code.reason;
  if (code.value !== 0) throw failed(source, await complaint, code.value);
}

/**
 * Writes nothing but the copy, which is there as a whole or not at all.
 * @throws CROSTINI_ERR_COPY, errors of openVsh() and node:fs
 */
export async function copyOut(
  source: string,
  target: string,
  isFolder: boolean,
  options: CopyOptions,
): Promise<Unpacked> {
  const path = posix.normalize(source).replace(/(.)\/+$/, '$1');
  const root = posix.basename(path);
  if (root === '' || root === '.' || root === '..') throw failed(source, 'it has to be called by its name');
  const isInto = isFolder || (await stat(target).catch(() => undefined))?.isDirectory() === true;
  const final = isInto ? join(target, root) : target;
  const work = join(dirname(final), `.${basename(final)}.${randomBytes(6).toString('hex')}`);
  await mkdir(work, { mode: 0o700 });
  try {
    const pax = ['--format=posix', '--pax-option=delete=atime,delete=ctime'];
    const session = await open(['tar', '-C', posix.dirname(path), ...pax, '-cf', '-', '--', root], options);
    session.stdin.end();
    const complaint = complaintOf(session);
    const unpacked = await received(session, root, work, options).catch(async (e: unknown) => {
      session[Symbol.dispose]();
      const said = await complaint;
      throw said !== '' && isCopyError(e) ? failed(source, said) : e;
    });
    const code = await session.exit;
    if (code !== 0) throw failed(source, await complaint, code);
    await moveInto(join(work, root), final);
    return unpacked;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function received(session: VshSession, root: string, work: string, options: CopyOptions): Promise<Unpacked> {
  const unpacked = await unpack(session.stdout, root, work, (bytes) => options.onProgress?.(bytes, undefined));
  // Blocks of zeros fill the archive up.
  session.stdout.resume();
  return unpacked;
}

async function moveInto(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (e) {
    const { code } = e as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST') throw failed(to, 'a folder of that name exists, and is not empty');
    if (code === 'ENOTDIR' || code === 'EISDIR') throw failed(to, 'what is there is of another kind');
    throw e;
  }
}

async function isGuestFolder(path: string, options: CopyOptions): Promise<boolean> {
  const session = await open(['test', '-d', path], options);
  session.stdin.end();
  session.stdout.resume();
  session.stderr.resume();
  return (await session.exit) === 0;
}

async function open(argv: readonly string[], { socketPath, user, signal }: CopyOptions): Promise<VshSession> {
  return await openVsh({ socketPath, user, signal, argv, env: { LC_ALL: 'C.UTF-8' } });
}

/** The beginning of what it writes to standard error; of the guest, and only shown. */
async function complaintOf({ stderr }: VshSession): Promise<string> {
  let text = '';
  try {
    for await (const chunk of stderr) if (text.length < COMPLAINT_MAX) text += chunk;
  } catch {
    // Its exit tells.
  }
  return text.trim().slice(0, COMPLAINT_MAX);
}

function failed(what: string, why: string, code?: number): Error {
  const said = why === '' && code !== undefined ? `tar in the guest ended with ${code}` : why;
  return errors.CROSTINI_ERR_COPY({ details: { what: `"${what}"`, why: said } });
}

function isCopyError(e: unknown): boolean {
  return (e as { readonly code?: unknown }).code === 'CROSTINI_ERR_COPY';
}

/** Not the stream that closed because the guest had ended. */
function isOfHost(e: unknown): boolean {
  const { code } = e as NodeJS.ErrnoException;
  return code !== 'ERR_STREAM_PREMATURE_CLOSE' && code !== 'ERR_STREAM_DESTROYED';
}

function teller(io: CommandIo): (bytes: number, total: number | undefined) => void {
  let told = 0;
  return (bytes, total) => {
    const now = performance.now();
    if (now - told < TELL_MS) return;
    told = now;
    const mib = `copying, ${(bytes / 2 ** 20).toFixed(1)} MiB`;
    void (total === undefined ? io.progress(mib) : io.progress(mib, bytes / total)).catch(() => {});
  };
}

async function report({ leftOut, leftOutCount }: Unpacked, io: CommandIo): Promise<void> {
  for (const path of leftOut) await io.err(`left out: ${path}`);
  if (leftOutCount > leftOut.length) await io.err(`left out: ${leftOutCount - leftOut.length} more`);
}
