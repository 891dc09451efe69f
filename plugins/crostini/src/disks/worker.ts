// The thread in which disks are read and written: it takes long, and the runtime has VMs to look after meanwhile.

import { createHash, type Hash } from 'node:crypto';
import { fstatSync, fsyncSync, readSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { parentPort, workerData } from 'node:worker_threads';
import { isRuntimeError, toErrorRecord } from '@runtime/sdk/errors';
import { duplicate, FALLOC_KEEP_SIZE, isLinuxError, LinuxError, rawFallocate } from '@runtime/sdk/linux';
import { errors } from '../errors.ts';
import { fileError } from './files.ts';
import type { AllocateTask, DigestTask, DiskTask, ExportTask, ImportTask, TaskMessage } from './worker-tasks.ts';
import { ZIP_MAGIC } from './zip/directory.ts';
import { importZip } from './zip/import.ts';
import { exportZstd } from './zstd/export.ts';
import { type Imported, importZstd } from './zstd/import.ts';

/** Between two messages about progress. */
const PROGRESS_MS = 250;
/** Before a pipe that is full is tried again. */
const FULL_MS = 5;
const READ_BYTES = 1024 * 1024;

const tell = (message: TaskMessage): void => parentPort?.postMessage(message);

let toldAt = 0;
function progress(done: number, total: number): void {
  const now = performance.now();
  if (now - toldAt < PROGRESS_MS) return;
  toldAt = now;
  tell({ kind: 'progress', fraction: total === 0 ? 1 : Math.min(1, done / total) });
}

/** A pipe is not waited for in the kernel, where nothing could end the thread. */
function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at, bytes.length - at);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'EAGAIN') throw e;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_MS);
    }
  }
}

function syncFile(fd: number): void {
  if (fstatSync(fd).isFile()) fsyncSync(fd);
}

function writeDigest(fd: number, hash: Hash): void {
  writeAll(fd, Buffer.from(`${hash.digest('hex').toUpperCase()}\n`));
  syncFile(fd);
}

function runExport({ disk, size, target, digest, type }: ExportTask): undefined {
  const hash = digest === undefined ? undefined : createHash('sha256');
  exportZstd(disk, size, {
    type,
    write(bytes) {
      writeAll(target, bytes);
      hash?.update(bytes);
    },
    progress: (done) => progress(done, size),
  });
  syncFile(target);
  if (hash !== undefined && digest !== undefined) writeDigest(digest, hash);
  return undefined;
}

/** From where the descriptor stands. A stream of Node would close it, whatever it is told. */
function* fileChunks(fd: number): Generator<Uint8Array> {
  for (;;) {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    const bytes = readSync(fd, buffer);
    if (bytes === 0) return;
    yield buffer.subarray(0, bytes);
  }
}

async function runImport(task: ImportTask): Promise<Imported> {
  const { source, size = 0, target, name, maxBytes } = task;
  const imported = isZip(source)
    ? {
        bytes: await importZip(source, target, { name, maxBytes, progress: (done) => progress(done, size) }),
        type: undefined,
      }
    : await runImportZstd(task);
  fsyncSync(target);
  return imported;
}

/** It is read from its end, and so has to be a file. */
function isZip(fd: number): boolean {
  const magic = Buffer.alloc(ZIP_MAGIC.length);
  return fstatSync(fd).isFile() && readSync(fd, magic, 0, magic.length, 0) === magic.length && magic.equals(ZIP_MAGIC);
}

async function runImportZstd({ source, size, target, maxBytes }: ImportTask): Promise<Imported> {
  // A thread that waits for a pipe in the kernel could not be ended.
  const stream = fstatSync(source).isFile()
    ? Readable.from(fileChunks(source))
    : new Socket({ fd: duplicate(source), readable: true, writable: false });
  return importZstd(stream, target, {
    maxBytes,
    progress: (done) => size !== undefined && progress(done, size),
  });
}

function runAllocate({ disk, offset, length }: AllocateTask): undefined {
  const result = rawFallocate(disk, FALLOC_KEEP_SIZE, offset, length);
  if (result < 0) throw new LinuxError('fallocate', -result);
  fsyncSync(disk);
  return undefined;
}

function runDigest({ source, digest }: DigestTask): undefined {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(READ_BYTES);
  for (let at = 0; ; ) {
    const bytes = readSync(source, buffer, 0, buffer.length, at);
    if (bytes === 0) break;
    hash.update(buffer.subarray(0, bytes));
    at += bytes;
  }
  writeDigest(digest, hash);
  return undefined;
}

const NO_SPACE: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT']);

function codedError(e: unknown): unknown {
  const code = isLinuxError(e) ? e.errnoName : (e as NodeJS.ErrnoException).code;
  if (NO_SPACE.has(code)) {
    const details = { folder: 'the disk or the file', why: 'nothing is free' };
    return errors.CROSTINI_ERR_DISK_SPACE({ details, cause: e });
  }
  return isRuntimeError(e) ? e : fileError('a file of the job', e);
}

async function run(task: DiskTask): Promise<Imported | undefined> {
  if (task.kind === 'export') return runExport(task);
  if (task.kind === 'import') return await runImport(task);
  if (task.kind === 'allocate') return runAllocate(task);
  return runDigest(task);
}

try {
  tell({ kind: 'done', result: await run(workerData as DiskTask) });
} catch (e) {
  tell({ kind: 'failed', error: toErrorRecord(codedError(e)) });
}
