// What other plugins may use of the disks of VMs: tokens and types, no behaviour. Names are those of ChromeOS' concierge.

import { defineService, type ErrorRecord, type ServiceToken } from '@runtime/sdk';
import type { TerminaType } from './contract.ts';

/** Whose disk it is. */
export interface DiskAddress {
  /** Hexadecimal; default: stands for the user of the runtime. */
  readonly owner?: string;
  /** As its owner calls it, 1 to 60 bytes. */
  readonly vm: string;
}

/** DiskImageAllocationType of concierge. `auto`: a disk whose size somebody chose is allocated, any other is sparse. */
export const DISK_ALLOCATIONS = ['auto', 'sparse', 'preallocate'] as const;
export type DiskAllocation = (typeof DISK_ALLOCATIONS)[number];

/** `zstd` is ChromeOS' container: frames of 128 KiB with a table to find them by. */
export const EXPORT_FORMATS = ['zstd', 'qcow2'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export const IMPORT_FORMATS = ['zstd', 'qcow2', 'raw'] as const;
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

/** An absolute path, or a descriptor of this process: whoever gave it may close it when the call has returned. */
export type DiskFile = string | { readonly fd: number };

export interface CreateDisk extends DiskAddress {
  /** Rounded up to 4096; default and 0: 90 % of what is free, at least 1 GiB. */
  readonly bytes?: number;
  /** Default `auto`. */
  readonly allocation?: DiskAllocation;
  /** Default `termina`. */
  readonly type?: TerminaType;
}

export interface CreatedDisk {
  readonly status: 'created' | 'exists';
  /** Raw. */
  readonly path: string;
  readonly bytes: number;
}

export interface DiskInfo {
  readonly vm: string;
  readonly owner: string;
  readonly type: TerminaType | undefined;
  readonly path: string;
  /** As the guest sees it. */
  readonly bytes: number;
  /** What it takes on the file system of the host. */
  readonly allocatedBytes: number;
  /** How far it could be made smaller; only the guest of a VM that runs knows. */
  readonly minBytes: number | undefined;
  /** Somebody chose its size, and all of it is allocated. */
  readonly userChosenSize: boolean;
}

export interface ResizeDisk extends DiskAddress {
  /** Rounded up to 4096. */
  readonly bytes: number;
}

export interface ExportDisk extends DiskAddress {
  /** A path is only taken once all is there; a descriptor is written from where it stands, and may be a pipe. */
  readonly to: DiskFile;
  /** Default `zstd`. `qcow2` needs a path. */
  readonly format?: ExportFormat;
  /** For the SHA-256 of what was written, in upper-case hexadecimal digits, and a newline. */
  readonly digest?: DiskFile;
  /** Although the VM runs: the copy is one of a disk that changes meanwhile. */
  readonly force?: boolean;
  /** Replace the file at `to`. */
  readonly overwrite?: boolean;
}

export interface ImportDisk extends DiskAddress {
  readonly from: DiskFile;
  /** Default `zstd`. The others have to be said: what is in an image is written by its guest, and proves nothing. */
  readonly format?: ImportFormat;
  /** Needed where the file does not say it; refused when it says something else. */
  readonly type?: TerminaType;
}

export const DISK_JOB_KINDS = ['resize', 'export', 'import'] as const;
export type DiskJobKind = (typeof DISK_JOB_KINDS)[number];

export const DISK_JOB_STATES = ['running', 'done', 'failed', 'cancelled'] as const;
export type DiskJobState = (typeof DISK_JOB_STATES)[number];

export interface DiskJob {
  readonly uuid: string;
  readonly kind: DiskJobKind;
  readonly owner: string;
  readonly vm: string;
  readonly state: DiskJobState;
  /** Whole, 0 to 100. */
  readonly percent: number;
  /** Of a job that failed. */
  readonly error: ErrorRecord | undefined;
}

export interface StatefulDisk {
  readonly path: string;
  readonly bytes: number;
  readonly created: boolean;
  /** What the guest discards may be given back to the host. */
  readonly sparse: boolean;
}

/**
 * The disks of VMs, one for each. While one is changed or read (`busy`), nothing else may be done with it, its VM is not
 * to be started, and every call but `list` and those about jobs throws CROSTINI_ERR_DISK_OP_IN_PROGRESS.
 */
export interface Disks {
  /** An empty disk. @throws CROSTINI_ERR_VM_NAME, CROSTINI_ERR_DISK_… */
  create(request: CreateDisk): Promise<CreatedDisk>;
  /** @throws CROSTINI_ERR_DISK_NOT_FOUND, CROSTINI_ERR_DISK_IN_USE */
  destroy(disk: DiskAddress): Promise<void>;
  /** All of an owner, or the one of a VM. */
  list(query?: { readonly owner?: string; readonly vm?: string }): Promise<readonly DiskInfo[]>;
  /** Of a VM that runs: both ways, file system and disk. Of another: larger, or smaller as far as its file system is known to be. */
  resize(request: ResizeDisk): Promise<DiskJob>;
  export(request: ExportDisk): Promise<DiskJob>;
  /** @throws CROSTINI_ERR_DISK_EXISTS */
  import(request: ImportDisk): Promise<DiskJob>;
  /** All that run, and the last that have ended. */
  jobs(): Promise<readonly DiskJob[]>;
  /** @throws CROSTINI_ERR_DISK_JOB_NOT_FOUND */
  status(uuid: string): Promise<DiskJob>;
  /** As it is when it has ended, or `waitMs` (default and at most 60,000) have passed. @throws CROSTINI_ERR_DISK_JOB_NOT_FOUND */
  wait(uuid: string, options?: { readonly waitMs?: number }): Promise<DiskJob>;
  /** Resolves when nothing is left of it; one that has ended stays as it is. @throws CROSTINI_ERR_DISK_JOB_NOT_FOUND, CROSTINI_ERR_DISK_JOB_LASTS */
  cancel(uuid: string): Promise<void>;
  /** The job that keeps a VM from being started. */
  busy(disk: DiskAddress): Promise<boolean>;
  /** For a VM that is about to be started: makes its disk when it has none, sparse, and forgets what was known of its file system. */
  ensureStateful(request: DiskAddress & { readonly bytes?: number }): Promise<StatefulDisk>;
}

/** The disks of VMs: how they are made, looked at, resized, taken away and brought back. */
export const disks: ServiceToken<Disks> = defineService<Disks>('disks', { version: '1.0.0' });

declare module '@runtime/core' {
  interface EventMap {
    /** DiskImageProgress: once a second while a job runs. */
    'disk:progress': {
      readonly uuid: string;
      readonly kind: DiskJobKind;
      readonly owner: string;
      readonly vm: string;
      /** Whole, 0 to 100. */
      readonly percent: number;
    };
    /** A job has ended. */
    'disk:done': {
      readonly uuid: string;
      readonly kind: DiskJobKind;
      readonly owner: string;
      readonly vm: string;
      readonly state: DiskJobState;
      /** In words; empty unless it failed. */
      readonly why: string;
    };
  }
}
