// What is done to disks in a thread of its own, and what the thread tells. Descriptors are those of the process: whoever
// gives a task keeps them open until it has ended.

import type { ErrorRecord } from '@runtime/sdk';
import type { VmType } from './zstd/format.ts';
import type { Imported } from './zstd/import.ts';

export interface ExportTask {
  readonly kind: 'export';
  readonly disk: number;
  /** Bytes of the disk. */
  readonly size: number;
  readonly target: number;
  /** Where the SHA-256 of what is written goes. */
  readonly digest: number | undefined;
  readonly type: VmType | undefined;
}

export interface ImportTask {
  readonly kind: 'import';
  readonly source: number;
  /** Bytes of the source, when they are known. */
  readonly size: number | undefined;
  readonly target: number;
  /** What the disk is called in a zip file. */
  readonly name: string;
  /** Bytes. */
  readonly maxBytes: number;
}

/** fallocate(2): gives a file its blocks. Its size stays, as killed in the middle it would have any. */
export interface AllocateTask {
  readonly kind: 'allocate';
  readonly disk: number;
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
}

/** The SHA-256 of a file. */
export interface DigestTask {
  readonly kind: 'digest';
  readonly source: number;
  readonly digest: number;
}

export type DiskTask = ExportTask | ImportTask | AllocateTask | DigestTask;

export interface TaskResults {
  readonly export: undefined;
  readonly import: Imported;
  readonly allocate: undefined;
  readonly digest: undefined;
}

export type TaskMessage =
  | { readonly kind: 'progress'; readonly fraction: number }
  | { readonly kind: 'done'; readonly result: Imported | undefined }
  | { readonly kind: 'failed'; readonly error: ErrorRecord };
