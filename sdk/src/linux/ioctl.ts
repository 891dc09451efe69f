// Device-specific calls, ioctl(2).

import { check, declare } from './call.ts';

// ABI: int ioctl(int fd, unsigned long op, ...); ioctl(2). Declared once for each kind of argument, since a variadic
// declaration is slower; on Linux it takes its argument as other functions do. The buffer is read and written during
// the call; what a pointer inside it names must live as long as the operation says.
const withBuffer = declare<[fd: number, request: number, argument: NodeJS.TypedArray], number>(
  'int ioctl(int fd, unsigned long request, void *argument)',
);
const withNumber = declare<[fd: number, request: number, argument: number], number>(
  'int ioctl(int fd, unsigned long request, unsigned long argument)',
);

/** The argument is the address of a buffer, which must be as large as the operation demands. @throws LinuxError */
export function ioctlBuffer(fd: number, request: number, argument: NodeJS.TypedArray): number {
  return check('ioctl', withBuffer(fd, request, argument));
}

/** The argument is a number, 0 to 2^53 − 1: a value, a descriptor, or an address in a Mapping. @throws LinuxError */
export function ioctlNumber(fd: number, request: number, argument: number): number {
  return check('ioctl', withNumber(fd, request, argument));
}

const DIRECTION = { none: 0, write: 1, read: 2, 'read-write': 3 } as const;

/** As _IO, _IOW, _IOR and _IOWR of include/uapi/asm-generic/ioctl.h: `type` is a character or number, `size` in bytes. */
export function ioctlRequest(
  direction: keyof typeof DIRECTION,
  type: number | string,
  number: number,
  size = 0,
): number {
  const code = typeof type === 'string' ? type.charCodeAt(0) : type;
  return DIRECTION[direction] * 2 ** 30 + size * 2 ** 16 + code * 256 + number;
}

/** include/uapi/linux/fs.h: _IOR(0x12, 114, size_t), _IO(0x12, 104), _IO(0x12, 123) */
const BLKGETSIZE64 = ioctlRequest('read', 0x12, 114, 8);
const BLKSSZGET = ioctlRequest('none', 0x12, 104);
const BLKPBSZGET = ioctlRequest('none', 0x12, 123);

/** Of a block device, in bytes. @throws LinuxError ENOTTY when it is none */
export function blockDeviceSize(fd: number): number {
  const size = new BigUint64Array(1);
  ioctlBuffer(fd, BLKGETSIZE64, size);
  return Number(size[0]);
}

/** Logical and physical sector size of a block device, in bytes. @throws LinuxError ENOTTY when it is none */
export function blockDeviceSectors(fd: number): { readonly logical: number; readonly physical: number } {
  const value = new Uint32Array(1);
  ioctlBuffer(fd, BLKSSZGET, value);
  const logical = value[0] as number;
  ioctlBuffer(fd, BLKPBSZGET, value);
  return { logical, physical: value[0] as number };
}
