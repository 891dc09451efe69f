// What happens to files, inotify(7), without the guesses of node:fs about it.

import { closeSync } from 'node:fs';
import { check, declare, LinuxError } from './call.ts';
import { type Mapping, mapAnonymous } from './mapping.ts';
import { ERRNO, rawRead } from './raw-io.ts';

const IN_NONBLOCK = 0o4000;
const IN_CLOEXEC = 0o2000000;
/** include/uapi/linux/inotify.h */
const EVENTS = {
  access: 1,
  modify: 2,
  attrib: 4,
  'close-write': 8,
  'close-nowrite': 0x10,
  open: 0x20,
  'moved-from': 0x40,
  'moved-to': 0x80,
  create: 0x100,
  delete: 0x200,
  'delete-self': 0x400,
  'move-self': 0x800,
  unmount: 0x2000,
  overflow: 0x4000,
  ignored: 0x8000,
} as const;
const IN_ISDIR = 0x4000_0000;
const IN_ONLYDIR = 0x100_0000;
const IN_DONT_FOLLOW = 0x200_0000;
const IN_EXCL_UNLINK = 0x400_0000;
/** struct inotify_event: wd i32@0, mask u32@4, cookie u32@8, len u32@12, then the name. */
const EVENT_BYTES = 16;
const BUFFER_BYTES = 65_536;

export type InotifyEventName = keyof typeof EVENTS;

// ABI: int inotify_init1(int flags); inotify_init(2). The descriptor is ours.
const inotifyInit1 = declare<[flags: number], number>('int inotify_init1(int flags)');
// ABI: int inotify_add_watch(int fd, const char *pathname, uint32_t mask); inotify_add_watch(2). The path is copied.
const inotifyAddWatch = declare<[fd: number, path: string, mask: number], number>(
  'int inotify_add_watch(int fd, const char *path, uint32_t mask)',
);
// ABI: int inotify_rm_watch(int fd, int wd); inotify_rm_watch(2).
const inotifyRmWatch = declare<[fd: number, watch: number], number>('int inotify_rm_watch(int fd, int watch)');

export interface InotifyEvent {
  /** What add() returned; −1 for `overflow`, after which anything may have happened. */
  readonly watch: number;
  readonly events: readonly InotifyEventName[];
  /** In a folder that is watched: the file it is about. Bytes that are no UTF-8 are replaced. */
  readonly name: string | undefined;
  readonly isFolder: boolean;
  /** The same for both halves of a rename, else 0. */
  readonly cookie: number;
}

export class Inotify implements Disposable {
  /** Readable when events wait; non-blocking, close-on-exec. −1 once disposed. */
  fd: number;
  readonly #scratch: Mapping;

  /** @throws LinuxError EMFILE, … */
  constructor() {
    this.fd = check('inotify_init1', inotifyInit1(IN_NONBLOCK | IN_CLOEXEC));
    this.#scratch = mapAnonymous(BUFFER_BYTES);
  }

  /** Watches a file, or the files in a folder; a symbolic link is not followed. @throws LinuxError ENOENT, ENOSPC, EBADF once disposed, … */
  add(path: string, events: readonly InotifyEventName[], options: { readonly onlyFolder?: boolean } = {}): number {
    const mask = events.reduce((all, event) => all | EVENTS[event], IN_DONT_FOLLOW | IN_EXCL_UNLINK);
    const flags = options.onlyFolder === true ? IN_ONLYDIR : 0;
    return check('inotify_add_watch', inotifyAddWatch(this.fd, path, mask | flags));
  }

  /** @throws LinuxError EINVAL */
  remove(watch: number): void {
    check('inotify_rm_watch', inotifyRmWatch(this.fd, watch));
  }

  /** What has happened since, up to 64 KiB of it; empty when nothing has. @throws SDK_ERR_MAPPING_CLOSED once disposed, LinuxError */
  read(): InotifyEvent[] {
    const buffer = Buffer.from(this.#scratch.buffer);
    const length = rawRead(this.fd, this.#scratch.address, BUFFER_BYTES);
    if (length === -ERRNO.EAGAIN) return [];
    if (length < 0) throw new LinuxError('read', -length);
    const result: InotifyEvent[] = [];
    for (let at = 0; at + EVENT_BYTES <= length; ) {
      const mask = buffer.readUInt32LE(at + 4);
      const nameBytes = buffer.readUInt32LE(at + 12);
      const name = buffer.subarray(at + EVENT_BYTES, at + EVENT_BYTES + nameBytes);
      const end = name.indexOf(0);
      result.push({
        watch: buffer.readInt32LE(at),
        events: (Object.keys(EVENTS) as InotifyEventName[]).filter((event) => (mask & EVENTS[event]) !== 0),
        name: nameBytes === 0 ? undefined : name.toString('utf8', 0, end === -1 ? nameBytes : end),
        isFolder: (mask & IN_ISDIR) !== 0,
        cookie: buffer.readUInt32LE(at + 8),
      });
      at += EVENT_BYTES + nameBytes;
    }
    return result;
  }

  [Symbol.dispose](): void {
    if (this.fd < 0) return;
    closeSync(this.fd);
    this.fd = -1;
    this.#scratch[Symbol.dispose]();
  }
}
