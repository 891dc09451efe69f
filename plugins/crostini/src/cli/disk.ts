// `runtime disk …`.

import { resolve } from 'node:path';
import { type CommandIo, type CommandRegistry, fromErrorRecord } from '@runtime/sdk';
import type { TerminaType } from '../contract.ts';
import {
  DISK_ALLOCATIONS,
  type DiskAllocation,
  type DiskInfo,
  type DiskJob,
  type Disks,
  EXPORT_FORMATS,
  type ExportFormat,
  IMPORT_FORMATS,
  type ImportFormat,
} from '../contract-disks.ts';
import { parseSize } from '../disks/sizes.ts';
import { errors } from '../errors.ts';

const VM = { name: 'vm', summary: 'name of the VM', required: true } as const;
const DETACH = {
  type: 'boolean',
  short: 'd',
  summary: 'do not wait; runtime disk status tells what becomes of it',
} as const;
const TYPES = ['termina', 'baguette'] as const;
/** Between two looks at a job. */
const WAIT_MS = 500;

const STAGES = { resize: 'resizing', export: 'exporting', import: 'importing' } as const;

export function addDisk(commands: CommandRegistry, disks: Disks): void {
  commands.add(
    {
      name: 'disk list',
      summary: 'list the disks of VMs',
      args: [{ name: 'vm', summary: 'only that of this VM' }],
      options: { quiet: { type: 'boolean', short: 'q', summary: 'only the names of their VMs' } },
    },
    async ({ args: [vm], options, io }) => {
      const list = await disks.list(vm === undefined ? {} : { vm });
      if (!options.quiet) return await io.data(list.map(row));
      for (const disk of list) await io.out(disk.vm);
    },
  );

  commands.add(
    {
      name: 'disk create',
      summary: 'make an empty disk for a VM',
      args: [VM, { name: 'size', summary: 'such as 20G; default: 90 % of what is free' }],
      options: {
        allocation: {
          type: 'string',
          choices: DISK_ALLOCATIONS,
          default: 'auto',
          summary: 'whether it takes its space at once; auto: when a size is given',
        },
        type: { type: 'string', choices: TYPES, default: 'termina', summary: 'of the VM' },
      },
    },
    async ({ args: [vm = '', size], options, io }) => {
      const { status, path, bytes } = await disks.create({
        vm,
        bytes: size === undefined ? 0 : parseSize(size),
        allocation: options.allocation as DiskAllocation,
        type: options.type as TerminaType,
      });
      if (status === 'exists') throw errors.CROSTINI_ERR_DISK_EXISTS({ details: { vm } });
      await io.data({ vm, bytes, path });
    },
  );

  commands.add(
    {
      name: 'disk resize',
      summary: 'change the size of the disk of a VM, also while it runs',
      args: [VM, { name: 'size', summary: 'such as 20G, or +5G for as much more', required: true }],
      options: { detach: DETACH },
    },
    async ({ args: [vm = '', size = ''], options, io, signal }) => {
      const bytes = parseSize(size.replace(/^\+/, '')) + (size.startsWith('+') ? await bytesOf(disks, vm) : 0);
      await follow(disks, await disks.resize({ vm, bytes }), options.detach, io, signal);
    },
  );

  commands.add(
    {
      name: 'disk export',
      summary: 'copy the disk of a VM into a file',
      description: 'The file is that of ChromeOS: zstd, which `zstd -d` makes a raw disk again.',
      args: [VM, { name: 'file', summary: 'to make', required: true }],
      options: {
        as: {
          type: 'string',
          choices: EXPORT_FORMATS,
          summary: 'what the file becomes; default: qcow2 when its name ends so, else zstd',
        },
        digest: { type: 'string', summary: 'file for the SHA-256 of the other' },
        force: { type: 'boolean', short: 'f', summary: 'although the VM runs' },
        overwrite: { type: 'boolean', summary: 'replace the file when there is one' },
        detach: DETACH,
      },
    },
    async ({ args: [vm = '', file = ''], options, io, signal }) => {
      const { as, digest, force, overwrite, detach } = options;
      const job = await disks.export({
        ...{ vm, force, overwrite },
        to: resolve(io.cwd, file),
        format: (as as ExportFormat | undefined) ?? (/\.qcow2$/.test(file) ? 'qcow2' : 'zstd'),
        ...(digest === undefined ? {} : { digest: resolve(io.cwd, digest) }),
      });
      await follow(disks, job, detach, io, signal);
    },
  );

  commands.add(
    {
      name: 'disk import',
      summary: 'make the disk of a VM from a file',
      args: [VM, { name: 'file', summary: 'what an export made, or an image', required: true }],
      options: {
        as: {
          type: 'string',
          choices: IMPORT_FORMATS,
          summary: 'what the file is; default: qcow2 or raw when its name ends in .qcow2, .raw or .img, else zstd',
        },
        type: { type: 'string', choices: TYPES, summary: 'of the VM, when the file does not tell it' },
        detach: DETACH,
      },
    },
    async ({ args: [vm = '', file = ''], options, io, signal }) => {
      const { as, type, detach } = options;
      const job = await disks.import({
        vm,
        from: resolve(io.cwd, file),
        format: (as as ImportFormat | undefined) ?? formatOf(file),
        ...(type === undefined ? {} : { type: type as TerminaType }),
      });
      await follow(disks, job, detach, io, signal);
    },
  );

  commands.add(
    { name: 'disk destroy', summary: 'remove the disk of a VM, with all that is on it', args: [VM] },
    async ({ args: [vm = ''] }) => {
      await disks.destroy({ vm });
    },
  );

  commands.add(
    {
      name: 'disk status',
      summary: 'show what is being done with disks, and what became of it',
      args: [{ name: 'uuid', summary: 'only this job' }],
    },
    async ({ args: [uuid], io }) => {
      const jobs = uuid === undefined ? await disks.jobs() : [await disks.status(uuid)];
      await io.data(jobs.map(({ error, owner: _, ...job }) => ({ ...job, why: error?.message ?? null })));
    },
  );

  commands.add(
    {
      name: 'disk cancel',
      summary: 'end an export or import',
      args: [{ name: 'uuid', summary: 'as runtime disk status shows it', required: true }],
    },
    async ({ args: [uuid = ''] }) => {
      await disks.cancel(uuid);
    },
  );
}

function row({ vm, type, bytes, allocatedBytes, minBytes, userChosenSize, path }: DiskInfo): object {
  return {
    ...{ vm, type: type ?? null, bytes, 'allocated-bytes': allocatedBytes },
    ...{ 'min-bytes': minBytes ?? null, 'chosen-size': userChosenSize, path },
  };
}

function formatOf(file: string): ImportFormat {
  if (/\.qcow2$/.test(file)) return 'qcow2';
  return /\.(raw|img)$/.test(file) ? 'raw' : 'zstd';
}

async function bytesOf(disks: Disks, vm: string): Promise<number> {
  const [disk] = await disks.list({ vm });
  if (disk === undefined) throw errors.CROSTINI_ERR_DISK_NOT_FOUND({ details: { vm } });
  return disk.bytes;
}

/** ^C ends the job; one that cannot be ended goes on. */
export async function follow(
  disks: Disks,
  begun: DiskJob,
  detach: boolean,
  io: CommandIo,
  signal: AbortSignal,
): Promise<void> {
  let job = begun;
  const { uuid, vm, kind } = job;
  if (detach) return await io.data({ uuid, vm, kind });
  const woken = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => woken.resolve(), { once: true });
  while (job.state === 'running') {
    await io.progress(`${STAGES[kind]} the disk of ${vm}`, job.percent / 100);
    await Promise.race([disks.wait(uuid, { waitMs: WAIT_MS }), woken.promise]);
    if (signal.aborted) {
      await disks.cancel(uuid);
      throw signal.reason;
    }
    job = await disks.status(uuid);
  }
  if (job.state === 'cancelled') throw errors.CROSTINI_ERR_DISK_CANCELLED();
  if (job.error !== undefined) throw fromErrorRecord(job.error);
  await io.progress(`${STAGES[kind]} the disk of ${vm}`, 1);
}
