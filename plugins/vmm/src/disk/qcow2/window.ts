// The part of a request's iovecs that an operation is for. The last of them may have to be cut short for it, and gets the
// rest back afterwards.

import { rawPreadv, rawPwritev } from '@runtime/sdk/linux';
import type { IovecTable } from '../../devices/block/iovec-table.ts';
import type { Request } from './request.ts';

/** readv(2) takes no more. */
const MAX_IOVECS = 1024;

/** @returns bytes: `length`, or fewer when that is in too many pieces */
export function openWindow(iovecs: IovecTable, request: Request, length: number): number {
  let left = length;
  let window = 0;
  request.trimmed = 0;
  while (left > 0 && window < MAX_IOVECS && request.first + window < request.count) {
    const index = request.first + window;
    const bytes = iovecs.length(request.id, index);
    window += 1;
    if (bytes > left) {
      request.trimmed = bytes - left;
      iovecs.set(request.id, index, iovecs.base(request.id, index), left);
      left = 0;
    } else left -= bytes;
  }
  request.window = window;
  return length - left;
}

/** Part of it is done. */
export function advanceWindow(iovecs: IovecTable, request: Request, bytes: number): void {
  const gone = iovecs.advance(request.id, request.first, request.first + request.window, bytes);
  request.first += gone;
  request.window -= gone;
}

/** All of it is done. */
export function closeWindow(iovecs: IovecTable, request: Request): void {
  request.first += request.window;
  request.window = 0;
  if (request.trimmed === 0) return;
  request.first -= 1;
  const { id, first, trimmed } = request;
  iovecs.set(id, first, iovecs.base(id, first) + iovecs.length(id, first), trimmed);
  request.trimmed = 0;
}

/** Fills guest memory from a file in memory. @returns bytes, or a negative errno */
export function fillFrom(iovecs: IovecTable, request: Request, length: number, fd: number, position: number): number {
  return move(rawPreadv, iovecs, request, length, fd, position);
}

/** Copies guest memory to a file in memory. @returns bytes, or a negative errno */
export function copyTo(iovecs: IovecTable, request: Request, length: number, fd: number, position: number): number {
  return move(rawPwritev, iovecs, request, length, fd, position);
}

function move(
  call: (fd: number, iovecs: number, count: number, offset: number) => number,
  iovecs: IovecTable,
  request: Request,
  length: number,
  fd: number,
  position: number,
): number {
  const total = openWindow(iovecs, request, length);
  let done = 0;
  while (done < total) {
    const bytes = call(fd, iovecs.address(request.id, request.first), request.window, position + done);
    if (bytes <= 0) return bytes === 0 ? -5 : bytes;
    done += bytes;
    if (done < total) advanceWindow(iovecs, request, bytes);
  }
  closeWindow(iovecs, request);
  return total;
}
