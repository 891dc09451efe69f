// The state of a machine, written to a folder and read from one: what QEMU calls migration. qapi/migration.json of QEMU.
// Memory is a file that QEMU shares, and is written by us; the rest of the state is small. QEMU gets files as descriptors, since it may neither start programs nor need to reach the folder.

import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { saveMemory } from '../saved-memory.ts';
import type { QmpClient } from './qmp.ts';

/** Files in the folder. */
const MACHINE = 'machine';
const SUM = 'machine.crc32';
/** What QEMU, and we, call the memory of a guest. */
const MEMORY_FILE = /^\/memfd:(?:memory-backend-memfd|guest-memory) /;
/** Name of the descriptor in QEMU. */
const FD_NAME = 'state';
const POLL_MS = 5;
/** Of a slow disk: 100 MiB/s for 32 GiB. */
const WRITE_MS = 320_000;
const READ_MS = 320_000;
/** Bytes in a second; QEMU's own limit is that of a network. */
const BANDWIDTH = 2 ** 40;

/** Of a machine that is paused. The folder must not be there yet. @throws with what QEMU objects to */
export async function saveState(qmp: QmpClient, pid: number, folder: string): Promise<void> {
  mkdirSync(folder, { mode: 0o700 });
  await leaveMemoryOut(qmp);
  await qmp.execute('migrate-set-parameters', { 'max-bandwidth': BANDWIDTH });
  await withFile(qmp, join(folder, MACHINE), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, async () => {
    await qmp.execute('migrate', { uri: `fd:${FD_NAME}` });
    await untilDone(qmp, WRITE_MS);
  });
  writeFileSync(join(folder, SUM), String(crc32(readFileSync(join(folder, MACHINE)))), { mode: 0o600 });
  const memory = openMemoryOf(pid);
  try {
    await saveMemory(memory, folder);
  } finally {
    closeSync(memory);
  }
}

/** Into a machine that was started with `-incoming defer` and has its memory already; its CPUs stand still then. @throws as saveState */
export async function loadState(qmp: QmpClient, folder: string): Promise<void> {
  const path = join(folder, MACHINE);
  // A state that ends early may be taken for a whole one, and what QEMU does with another is anybody's guess.
  if (readFileSync(join(folder, SUM), 'latin1') !== String(crc32(readFileSync(path)))) throw new Error('it is damaged');
  await leaveMemoryOut(qmp);
  await withFile(qmp, path, constants.O_RDONLY, async () => {
    // QEMU says nothing while it reads, so that this answer may take its time.
    await qmp.execute('migrate-incoming', { uri: `fd:${FD_NAME}` }, { timeoutMs: READ_MS });
    await untilDone(qmp, READ_MS);
  });
}

async function leaveMemoryOut(qmp: QmpClient): Promise<void> {
  const capabilities = [{ capability: 'x-ignore-shared', state: true }];
  await qmp.execute('migrate-set-capabilities', { capabilities });
}

/** The memory of a guest, which QEMU has made as a file without a name. @throws when it cannot be found */
function openMemoryOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  const fd = readdirSync(folder).find((one) => MEMORY_FILE.test(readlinkSync(join(folder, one))));
  if (fd === undefined) throw new Error('its memory is not a file');
  return openSync(join(folder, fd), constants.O_RDONLY);
}

async function withFile(qmp: QmpClient, path: string, flags: number, use: () => Promise<void>): Promise<void> {
  const fd = openSync(path, flags | constants.O_NOFOLLOW, 0o600);
  try {
    await qmp.execute('getfd', { fdname: FD_NAME }, { fds: [fd] });
    await use();
  } finally {
    closeSync(fd);
  }
}

async function untilDone(qmp: QmpClient, ms: number): Promise<void> {
  for (const until = performance.now() + ms; performance.now() < until; await sleep(POLL_MS)) {
    const info = (await qmp.execute('query-migrate', {}, { timeoutMs: ms })) as MigrationInfo | null;
    if (info?.status === 'completed') return;
    if (info?.status === 'failed' || info?.status === 'cancelled') {
      throw new Error(info['error-desc'] ?? 'QEMU does not say why');
    }
  }
  throw new Error(`it took longer than ${ms / 1_000} s`);
}

interface MigrationInfo {
  readonly status?: string;
  readonly 'error-desc'?: string;
}
