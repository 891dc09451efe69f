// The stateful disk: what a VM keeps. btrfs as ChromeOS has it, or ext4, whichever is on it.

import { closeSync, existsSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { blockDeviceSize, FALLOC_KEEP_SIZE, rawFallocate } from '@runtime/sdk/linux';
import type { Log } from './log.ts';
import { failed, invalid, unready } from './refusal.ts';
import type { ProgramResult, System } from './system.ts';

export const STATEFUL = '/mnt/stateful';
/** Takes the room that the host does not have, so that the guest does not count on it. */
const BALLOON = `${STATEFUL}/.storage-balloon`;
/** What a host keeps for itself. */
const HOST_RESERVE = 2 ** 30;

const FILESYSTEMS = {
  btrfs: { magicAt: 0x1_0040, magic: Buffer.from('_BHRfS_M'), options: 'user_subvol_rm_allowed,discard' },
  ext4: { magicAt: 0x438, magic: Buffer.from([0x53, 0xef]), options: 'discard' },
} as const;
type Filesystem = keyof typeof FILESYSTEMS;

export type MountOutcome = 'SUCCESS' | 'PARTIAL_DATA_LOSS' | 'FAILURE';
export type ResizeStatus = 'STARTED' | 'ALREADY_IN_PROGRESS' | 'FAILED';

/** The disk follows the host's resize with some delay: 0.1, 0.2, 0.4, … s. */
const DEVICE_TRIES = 5;
const DEVICE_WAIT_MS = 100;
const MKFS_TIMEOUT_MS = 120_000;
const RESIZE_TIMEOUT_MS = 3_600_000;

export class StatefulDisk {
  readonly #system: System;
  readonly #log: Log;
  #device: string | undefined;
  #type: Filesystem = 'btrfs';
  #resizing: number | undefined;

  constructor(system: System, log: Log) {
    this.#system = system;
    this.#log = log;
  }

  /** Mounts it, formatted if it is blank, and grown to its device. @throws RpcError when it is none */
  async mount(device: string): Promise<MountOutcome> {
    if (!/^\/dev\/[a-z0-9]{1,32}$/.test(device)) throw invalid(`${JSON.stringify(device.slice(0, 100))} is no disk`);
    if (this.#device !== undefined) {
      if (this.#device !== device) throw unready(`${this.#device} is mounted already`);
      return 'SUCCESS';
    }
    const source = this.#system.root + device;
    const found = filesystemOn(source);
    if (found === undefined && !(await this.#format(source))) return 'FAILURE';
    this.#type = found ?? 'btrfs';
    const outcome = this.#mount(source);
    if (outcome === 'FAILURE') return outcome;
    this.#device = device;
    if (!this.#fills(source)) await this.#resize('max', MKFS_TIMEOUT_MS);
    return outcome;
  }

  /** Nothing is to be grown, as of a disk that was made for its device. ext4 does not tell. */
  #fills(device: string): boolean {
    return this.#type === 'btrfs' && this.#system.space(this.#folder).size === sizeOf(device);
  }

  /** In bytes; undefined when nothing is mounted. */
  get freeBytes(): number | undefined {
    return this.#device === undefined ? undefined : this.#system.space(this.#folder).free;
  }

  /** Goes on after this has answered: see resizeStatus. @throws RpcError */
  async resize(bytes: bigint): Promise<ResizeStatus> {
    const device = this.#mounted();
    if (this.#resizing !== undefined) return 'ALREADY_IN_PROGRESS';
    if (bytes <= 0n || bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${bytes} bytes are no size of a disk`);
    const size = Number(bytes);
    this.#resizing = size;
    if (!(await this.#awaitDevice(device, size))) {
      this.#resizing = undefined;
      return 'FAILED';
    }
    this.#resize(String(size), RESIZE_TIMEOUT_MS)
      .catch((e: unknown) => this.#log('error', `${device} cannot be resized: ${(e as Error).message}`))
      .finally(() => {
        this.#resizing = undefined;
      });
    return 'STARTED';
  }

  resizeStatus(): {
    readonly resize_in_progress: boolean;
    readonly current_size: bigint;
    readonly target_size: bigint;
  } {
    this.#mounted();
    const { size } = this.#system.space(this.#folder);
    return {
      resize_in_progress: this.#resizing !== undefined,
      current_size: BigInt(size),
      target_size: BigInt(this.#resizing ?? size),
    };
  }

  /** The fewest bytes to which it can shrink. @throws RpcError */
  async minimumSize(): Promise<bigint> {
    this.#mounted();
    // An ext4 that is mounted does not shrink.
    if (this.#type === 'ext4') return BigInt(this.#system.space(this.#folder).size);
    const result = await this.#system.run(['btrfs', 'inspect-internal', 'min-dev-size', this.#folder]);
    const size = /^(\d+)/.exec(result.output)?.[1];
    if (result.code !== 0 || size === undefined) throw failed('the smallest size is not known', result.output);
    return BigInt(size);
  }

  /** Leaves the guest no more room than the host has, less a reserve. @returns whether it could */
  balloon(hostFree: bigint): boolean {
    this.#mounted();
    const target = Math.max(Number(hostFree) - HOST_RESERVE, 0);
    const file = this.#system.root + BALLOON;
    const fd = openSync(file, 'a+', 0o600);
    try {
      const held = fstatSync(fd).blocks * 512;
      const wanted = Math.max(this.#system.space(this.#folder).free + held - target, 0);
      if (wanted < held) ftruncateSync(fd, 0);
      return wanted === 0 || rawFallocate(fd, FALLOC_KEEP_SIZE, 0, wanted) === 0;
    } finally {
      closeSync(fd);
    }
  }

  get #folder(): string {
    return this.#system.root + STATEFUL;
  }

  #mounted(): string {
    if (this.#device === undefined) throw unready('there is no stateful disk: StartTermina mounts it');
    return this.#device;
  }

  async #format(source: string): Promise<boolean> {
    const { code, output } = await this.#system.run(['mkfs.btrfs', '--', source], { timeoutMs: MKFS_TIMEOUT_MS });
    if (code !== 0) this.#log('error', `${source} cannot be formatted: ${output}`);
    return code === 0;
  }

  #mount(source: string): MountOutcome {
    const { options } = FILESYSTEMS[this.#type];
    const tries: readonly (readonly [options: string, outcome: MountOutcome])[] =
      this.#type === 'btrfs'
        ? [
            [options, 'SUCCESS'],
            [`${options},usebackuproot`, 'PARTIAL_DATA_LOSS'],
          ]
        : [[options, 'SUCCESS']];
    mkdirSync(this.#folder, { recursive: true });
    for (const [data, outcome] of tries) {
      try {
        this.#system.mount({ source, target: this.#folder, type: this.#type, data });
        return outcome;
      } catch (e) {
        this.#log('error', `${source} cannot be mounted with ${data}: ${(e as Error).message}`);
      }
    }
    return 'FAILURE';
  }

  /** @param size in bytes, or `max` */
  async #resize(size: string, timeoutMs: number): Promise<void> {
    const device = this.#system.root + (this.#device ?? '');
    const argv =
      this.#type === 'btrfs'
        ? ['btrfs', 'filesystem', 'resize', size, this.#folder]
        : // Sectors of 512 bytes.
          ['resize2fs', device, ...(size === 'max' ? [] : [`${Math.floor(Number(size) / 512)}s`])];
    let result: ProgramResult;
    try {
      result = await this.#system.run(argv, { timeoutMs });
    } catch (e) {
      this.#log('warning', `${argv[0]} cannot be run: ${(e as Error).message}`);
      return;
    }
    if (result.code !== 0) this.#log('warning', `${argv[0]}: ${result.output}`);
  }

  async #awaitDevice(device: string, size: number): Promise<boolean> {
    const file = this.#system.root + device;
    for (let i = 0; i < DEVICE_TRIES; i++) {
      if (sizeOf(file) >= size) return true;
      await sleep(DEVICE_WAIT_MS * 2 ** i);
    }
    return sizeOf(file) >= size;
  }
}

function sizeOf(file: string): number {
  const fd = openSync(file, 'r');
  try {
    const stats = fstatSync(fd);
    return stats.isBlockDevice() ? blockDeviceSize(fd) : stats.size;
  } finally {
    closeSync(fd);
  }
}

/** What is on a disk, by its magic number. @throws RpcError when there is no such disk */
function filesystemOn(file: string): Filesystem | undefined {
  if (!existsSync(file)) throw unready(`there is no disk ${file}`);
  const fd = openSync(file, 'r');
  try {
    for (const [name, { magic, magicAt }] of Object.entries(FILESYSTEMS)) {
      const found = Buffer.alloc(magic.length);
      if (readSync(fd, found, 0, magic.length, magicAt) === magic.length && found.equals(magic))
        return name as Filesystem;
    }
    return undefined;
  } finally {
    closeSync(fd);
  }
}
