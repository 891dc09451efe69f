// The file of an image as its metadata is read and written: small, synchronous and mostly in the page cache. Data goes
// through the device's asynchronous I/O, not through here. Tests give a file that records what it is asked to do.

import { fdatasyncSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { blockDeviceSize, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, LinuxError, rawFallocate } from '@runtime/sdk/linux';

/** Positions and lengths are bytes. Methods throw what the system call failed with: an error with a negative `errno`. */
export interface ImageFile {
  readonly fd: number;
  /** For messages. */
  readonly name: string;
  size(): number;
  /** Whether it can become larger: a block device cannot. */
  readonly grows: boolean;
  /** @returns bytes read, fewer than asked only at the end of the file */
  read(target: Uint8Array, position: number): number;
  write(source: Uint8Array, position: number): void;
  truncate(size: number): void;
  /** Gives the space back; it reads as zeroes afterwards. */
  punch(position: number, length: number): void;
  /** fdatasync(2) */
  sync(): void;
}

const EOPNOTSUPP = 95;
const ZEROES = new Uint8Array(64 * 1024);

export function imageFile(fd: number, name: string): ImageFile {
  const file: ImageFile = {
    fd,
    name,
    grows: fstatSync(fd).isFile(),
    size() {
      const stats = fstatSync(fd);
      return stats.isBlockDevice() ? blockDeviceSize(fd) : stats.size;
    },
    read(target, position) {
      let done = 0;
      while (done < target.length) {
        const bytes = readSync(fd, target, done, target.length - done, position + done);
        if (bytes === 0) break;
        done += bytes;
      }
      return done;
    },
    write(source, position) {
      let done = 0;
      while (done < source.length) done += writeSync(fd, source, done, source.length - done, position + done);
    },
    truncate: (size) => ftruncateSync(fd, size),
    punch(position, length) {
      const result = rawFallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, position, length);
      if (result === 0) return;
      if (result !== -EOPNOTSUPP) throw new LinuxError('fallocate', -result);
      // A file system without holes: zeroes do as well, they only take space.
      for (let done = 0; done < length; done += ZEROES.length)
        file.write(ZEROES.subarray(0, Math.min(ZEROES.length, length - done)), position + done);
    },
    sync: () => fdatasyncSync(fd),
  };
  return file;
}

const EIO = 5;

/** The negative errno of what a method of ImageFile threw; −EIO for anything else that says none. */
export function errnoOf(error: unknown): number {
  const errno = (error as { readonly errno?: unknown } | undefined)?.errno;
  return typeof errno === 'number' && errno !== 0 ? -Math.abs(errno) : -EIO;
}
