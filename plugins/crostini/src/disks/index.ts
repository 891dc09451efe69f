// The disks of VMs: what the service `disks` does.

import { closeSync, constants, fsyncSync, ftruncateSync, openSync } from 'node:fs';
import { join } from 'node:path';
import type { DiskImages } from '@runtime/plugin-vmm/contract';
import type { Logger } from '@runtime/sdk';
import type { TerminaType } from '../contract.ts';
import type {
  CreateDisk,
  CreatedDisk,
  DiskAddress,
  DiskInfo,
  DiskJob,
  Disks,
  ExportDisk,
  ImportDisk,
  ResizeDisk,
  StatefulDisk,
} from '../contract-disks.ts';
import { errors } from '../errors.ts';
import { runExport } from './export-job.ts';
import { writeFacts } from './facts.ts';
import { checkTarget, openSource } from './files-of-jobs.ts';
import type { RunningDisk } from './guest-filesystem.ts';
import { runImport } from './import-job.ts';
import { Jobs } from './jobs.ts';
import { Journal } from './journal.ts';
import { checkStoppedResize, type RequestDevice, resizeRunning, resizeStopped } from './resize.ts';
import { runTask } from './run-task.ts';
import { automaticSize, chosenSize, sizeText } from './sizes.ts';
import { type DiskPlace, DiskStore, type StoredDisk } from './store.ts';

export type { GuestFilesystem, RunningDisk } from './guest-filesystem.ts';

export interface DisksOptions {
  /** Of the plugin; disks lie in `crosvm` below it. */
  readonly stateDirectory: string;
  /** Whose disk it is when nobody says. Hexadecimal. */
  readonly defaultOwner: string;
  /** Bytes that no disk may be larger than; default 16 TiB. */
  readonly maxBytes?: number;
  /** Jobs at once; default 4. */
  readonly maxJobs?: number;
  /** Of the vmm plugin. */
  readonly images: DiskImages;
  readonly requestDevice: RequestDevice;
  /** Makes the file system of a new disk; one that is left blank is given one by its guest. */
  format?(path: string, type: TerminaType): Promise<void>;
  /** The disk of a VM that runs or is about to; `undefined`: nobody uses it. */
  running(owner: string, vm: string): Promise<RunningDisk | undefined>;
  readonly events: {
    progress(job: DiskJob): void;
    done(job: DiskJob): void;
  };
  readonly log?: Logger;
}

const MAX_BYTES = 16 * 2 ** 40;
const MAX_JOBS = 4;
const MAX_WAIT_MS = 60_000;
/** A guest that does not tell in time how small its disk may be is not waited for. */
const BOUNDS_MS = 2000;

/** Removes what a runtime that was killed has left. @throws CROSTINI_ERR_DISK_STORE */
export function createDisks(options: DisksOptions): Disks & AsyncDisposable {
  return new DiskManager(options);
}

class DiskManager implements Disks, AsyncDisposable {
  readonly #options: DisksOptions;
  readonly #maxBytes: number;
  readonly #store: DiskStore;
  readonly #journal: Journal;
  readonly #jobs: Jobs;

  constructor(options: DisksOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
    const root = join(options.stateDirectory, 'crosvm');
    this.#store = new DiskStore(root);
    this.#journal = new Journal(join(root, '.jobs'));
    this.#jobs = new Jobs({
      max: options.maxJobs ?? MAX_JOBS,
      onProgress: options.events.progress,
      onEnd: (job) => {
        options.log?.info({ uuid: job.uuid, kind: job.kind, state: job.state }, 'a job on a disk has ended');
        options.events.done(job);
      },
    });
  }

  async create(request: CreateDisk): Promise<CreatedDisk> {
    const { bytes = 0, allocation = 'auto', type = 'termina' } = request;
    const place = this.#place(request);
    return await this.#jobs.exclusively(place.owner, place.vm, async () => {
      const there = this.#store.find(place);
      if (there !== undefined) return { status: 'exists', path: place.image, bytes: there.bytes };
      const isSparse = allocation === 'sparse' || (allocation === 'auto' && bytes === 0);
      const size = await this.#build(place, bytes, isSparse, type);
      this.#store.keep(place, { type, userChosenSize: !isSparse });
      return { status: 'created', path: place.image, bytes: size };
    });
  }

  async destroy(disk: DiskAddress): Promise<void> {
    const place = this.#place(disk);
    await this.#jobs.exclusively(place.owner, place.vm, async () => {
      this.#existing(place);
      await this.#refuseWhileRunning(place, 'removed');
      this.#store.remove(place);
    });
  }

  async list(query: { readonly owner?: string; readonly vm?: string } = {}): Promise<readonly DiskInfo[]> {
    const { owner = this.#options.defaultOwner, vm } = query;
    const found =
      vm === undefined ? this.#store.list(owner) : [this.#store.find(this.#store.place(owner, vm))].filter(isThere);
    return await Promise.all(found.map((disk) => this.#infoOf(disk)));
  }

  async resize(request: ResizeDisk): Promise<DiskJob> {
    const place = this.#place(request);
    const bytes = chosenSize(request.bytes, this.#maxBytes);
    return await this.#jobs.begin(place.owner, place.vm, async () => {
      const disk = this.#existing(place);
      const running = await this.#options.running(place.owner, place.vm);
      if (running === undefined) checkStoppedResize(disk, bytes);
      this.#checkSpace(disk.facts.userChosenSize ? bytes - disk.bytes : 0);
      return {
        kind: 'resize',
        ...{ owner: place.owner, vm: place.vm, cancellable: false },
        run: (control) =>
          running === undefined
            ? resizeStopped(disk, bytes, control)
            : resizeRunning(disk, bytes, running, this.#options.requestDevice, control),
      };
    });
  }

  async export(request: ExportDisk): Promise<DiskJob> {
    const place = this.#place(request);
    const { to, digest, format = 'zstd', force = false, overwrite = false } = request;
    checkTarget(to, overwrite);
    if (digest !== undefined) checkTarget(digest, overwrite);
    if (typeof to === 'string' && to === digest)
      throw errors.CROSTINI_ERR_DISK_FILE({
        details: { file: to, why: 'it is where the disk goes', hint: 'Name another file for its digest.' },
      });
    if (format === 'qcow2' && typeof to !== 'string')
      throw errors.CROSTINI_ERR_DISK_FILE({
        details: {
          file: 'a descriptor',
          why: 'qcow2 is not written from its beginning to its end',
          hint: 'Name a path.',
        },
      });
    return await this.#jobs.begin(place.owner, place.vm, async () => {
      const disk = this.#existing(place);
      if (!force) await this.#refuseWhileRunning(place, 'exported');
      const { images } = this.#options;
      return {
        kind: 'export',
        ...{ owner: place.owner, vm: place.vm, cancellable: true },
        run: (control) =>
          runExport({ disk, to, digest, format, force, overwrite }, { journal: this.#journal, images }, control),
      };
    });
  }

  async import(request: ImportDisk): Promise<DiskJob> {
    const place = this.#place(request);
    const { from, format = 'zstd', type } = request;
    return await this.#jobs.begin(place.owner, place.vm, async () => {
      if (this.#store.find(place) !== undefined) throw errors.CROSTINI_ERR_DISK_EXISTS({ details: { vm: place.vm } });
      const source = openSource(from);
      const { images } = this.#options;
      return {
        kind: 'import',
        ...{ owner: place.owner, vm: place.vm, cancellable: true },
        run: (control) =>
          runImport({ place, source, format, type, maxBytes: this.#maxBytes }, { store: this.#store, images }, control),
      };
    });
  }

  jobs(): Promise<readonly DiskJob[]> {
    return Promise.resolve(this.#jobs.list());
  }

  async status(uuid: string): Promise<DiskJob> {
    return this.#jobs.get(uuid);
  }

  async wait(uuid: string, { waitMs = MAX_WAIT_MS }: { readonly waitMs?: number } = {}): Promise<DiskJob> {
    return await this.#jobs.wait(uuid, Math.min(waitMs, MAX_WAIT_MS));
  }

  async cancel(uuid: string): Promise<void> {
    await this.#jobs.cancel(uuid);
  }

  async busy(disk: DiskAddress): Promise<boolean> {
    const { owner, vm } = this.#place(disk);
    return this.#jobs.isHeld(owner, vm);
  }

  async ensureStateful(request: DiskAddress & { readonly bytes?: number }): Promise<StatefulDisk> {
    const place = this.#place(request);
    const { status } = await this.create({ ...request, allocation: 'sparse' });
    const { bytes, facts } = this.#existing(place);
    const { filesystemBytes, ...rest } = facts;
    // The guest makes its file system as large as the disk when it starts.
    if (filesystemBytes !== undefined) writeFacts(place.facts, rest);
    return { path: place.image, bytes, created: status === 'created', sparse: !facts.userChosenSize };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#jobs[Symbol.asyncDispose]();
  }

  #place({ owner = this.#options.defaultOwner, vm }: DiskAddress): DiskPlace {
    return this.#store.place(owner, vm);
  }

  #existing(place: DiskPlace): StoredDisk {
    const disk = this.#store.find(place);
    if (disk === undefined) throw errors.CROSTINI_ERR_DISK_NOT_FOUND({ details: { vm: place.vm } });
    return disk;
  }

  async #refuseWhileRunning({ owner, vm }: DiskPlace, verb: string): Promise<void> {
    if ((await this.#options.running(owner, vm)) !== undefined)
      throw errors.CROSTINI_ERR_DISK_IN_USE({ details: { vm, verb } });
  }

  #checkSpace(more: number): void {
    const free = this.#store.free();
    if (more > free)
      throw errors.CROSTINI_ERR_DISK_SPACE({
        details: { folder: this.#store.root, why: `${sizeText(more)} are needed, and ${sizeText(free)} are free` },
      });
  }

  /** An empty disk that store.keep() makes the one of its VM. */
  async #build(place: DiskPlace, asked: number, isSparse: boolean, type: TerminaType): Promise<number> {
    const bytes =
      asked === 0
        ? automaticSize(this.#store.free(), this.#maxBytes, this.#store.root)
        : chosenSize(asked, this.#maxBytes);
    if (!isSparse) this.#checkSpace(bytes);
    const path = this.#store.build(place);
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      try {
        if (!isSparse)
          await runTask(
            { kind: 'allocate', disk: fd, offset: 0, length: bytes },
            () => {},
            new AbortController().signal,
          );
        ftruncateSync(fd, bytes);
        await this.#options.format?.(path, type);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    } catch (e) {
      this.#store.discard(place);
      throw e;
    }
    return bytes;
  }

  async #infoOf({ place, bytes, allocatedBytes, facts }: StoredDisk): Promise<DiskInfo> {
    const { owner, vm, image: path } = place;
    const { type, userChosenSize } = facts;
    return { vm, owner, type, path, bytes, allocatedBytes, minBytes: await this.#minBytes(owner, vm), userChosenSize };
  }

  async #minBytes(owner: string, vm: string): Promise<number | undefined> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => late.resolve(undefined), BOUNDS_MS);
    const ask = async (): Promise<number | undefined> =>
      (await (await this.#options.running(owner, vm))?.filesystem.bounds())?.minBytes;
    try {
      return await Promise.race([ask(), late.promise]);
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}

const isThere = <T>(value: T | undefined): value is T => value !== undefined;
