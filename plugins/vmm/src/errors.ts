// The error table of the vmm plugin. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorConstructors, type ErrorTable, GrpcStatus } from '@runtime/sdk/errors';

const { alreadyExists, failedPrecondition, invalidArgument, notFound, unavailable } = GrpcStatus;

export const vmmErrorTable = {
  // Virtual machines
  VMM_ERR_NOT_FOUND: {
    message: 'there is no VM called "{vm}"',
    remedy: 'runtime vm list shows those there are.',
    grpc: notFound,
  },
  VMM_ERR_DESCRIPTION: {
    message: '{where}: {why}',
    remedy: 'Correct it; docs/reference/vm.md lists what a VM can be described by.',
    grpc: invalidArgument,
    exit: 2,
  },
  VMM_ERR_MACHINE: {
    message: 'the machine of VM "{vm}" did not start: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },

  VMM_ERR_EXISTS: {
    message: 'there is a VM called "{vm}" already',
    remedy: 'Give another name (--name), or stop it: runtime vm stop {vm}',
    grpc: alreadyExists,
  },
  VMM_ERR_STATE: {
    message: 'VM "{vm}" is {state}, and cannot be {verb}',
    remedy: 'runtime vm list shows the states.',
    grpc: failedPrecondition,
  },
  VMM_ERR_CLOSING: {
    message: 'the VMs cannot be asked any more: plugin vmm is being unloaded',
    remedy: 'Load it again: runtime plugin enable vmm',
    grpc: unavailable,
  },
  VMM_ERR_VETO: {
    message: 'VM "{vm}" may not start: {why}',
    remedy: 'Whoever objects is a plugin: runtime trace --kind hook shows which.',
    grpc: failedPrecondition,
  },
  VMM_ERR_QEMU_MISSING: {
    message: '{program} is not there, and no other machine can run VM "{vm}"',
    remedy: 'Install it: apt-get install qemu-system-x86',
    grpc: failedPrecondition,
  },
  VMM_ERR_QMP: {
    message: 'QEMU of VM "{vm}" did not carry out {command}: {why}',
    remedy: 'runtime vm logs {vm} shows what QEMU said.',
    grpc: failedPrecondition,
  },
  VMM_ERR_SNAPSHOT: {
    message: 'the snapshot {path} of VM "{vm}" was not {verb}: {why}',
    remedy: 'Start the VM without it, and make a new one.',
    grpc: failedPrecondition,
  },
  VMM_ERR_HOTPLUG: {
    message: 'device {device} of VM "{vm}" was not {verb}: {why}',
    remedy: 'Its guest needs a driver for PCI hot-plug; else give the device at the start.',
    grpc: failedPrecondition,
  },
  VMM_ERR_BALLOON: {
    message: 'the memory of VM "{vm}" cannot change while it runs: it has no balloon',
    remedy: 'Start it with one: balloon: true in its description, or runtime vm run --balloon.',
    grpc: failedPrecondition,
  },
  VMM_ERR_CONSOLE: {
    message: 'the console of VM "{vm}" takes no input: {why}',
    remedy: 'The guest does not read from it; wait, or look at what it does: runtime vm logs {vm}',
    grpc: failedPrecondition,
    retryable: true,
  },
  VMM_ERR_DEVICE_TYPE: {
    message: 'device {device} is a virtio {type} device, which this machine cannot carry: {why}',
    remedy: 'Leave it out of the description.',
    grpc: failedPrecondition,
  },

  // The block device
  VMM_ERR_DISK_IN_USE: {
    message: '{image} is in use by another process',
    remedy: 'Stop the VM that uses it, or give both of them the image read-only.',
    grpc: failedPrecondition,
  },
  VMM_ERR_DISK_RESIZE: {
    message: 'the disk keeps its size: {why}',
    remedy:
      'Sizes are whole blocks. A disk is made smaller only with --shrink, or with shrink=true while it is in use.',
    grpc: failedPrecondition,
  },
  VMM_ERR_DISK_REQUEST: {
    message: 'a block device knows no request "{method}"',
    remedy: 'Ask for resize.',
    grpc: invalidArgument,
  },

  // Disk images
  VMM_ERR_DISK_OPEN: {
    message: '{image} cannot be {verb}: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },
  VMM_ERR_DISK_FORMAT: {
    message: '{image} is no image that can be used: {why}',
    remedy: 'Name the format that it has, or make it anew: runtime vm disk create.',
    grpc: invalidArgument,
  },
  VMM_ERR_DISK_FEATURE: {
    message: '{image} uses {feature}, which is not supported',
    remedy: '{hint}',
    grpc: invalidArgument,
  },
  VMM_ERR_DISK_SNAPSHOTS: {
    message: '{image} holds internal snapshots ({count}), and writing to it would damage them',
    remedy:
      'Delete them (qemu-img snapshot -d NAME IMAGE), attach it read-only, or put an overlay over it: runtime vm disk create NEW --backing IMAGE --backing-format qcow2',
    grpc: failedPrecondition,
  },
  VMM_ERR_DISK_CORRUPT: {
    message: '{image} is damaged: {why}',
    remedy: 'Copy it, then try: qemu-img check -r all IMAGE. What can still be read is read by qemu-img convert.',
    grpc: failedPrecondition,
  },
  VMM_ERR_DISK_BACKING: {
    message: 'the backing files of {image} cannot be used: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },
  VMM_ERR_DISK_COPY: {
    message: 'copy {id} of a disk image was not made: {why}',
    remedy: 'Begin it anew.',
    grpc: GrpcStatus.aborted,
  },
  VMM_ERR_DISK_IO: {
    message: '{image} could not be {verb}: errno {errno}',
    remedy: 'See what the system says about its file system or device; see that there is space left.',
    grpc: failedPrecondition,
  },
  VMM_ERR_DISK_SIZE: {
    message: 'the size is not possible: {why}',
    remedy: '{hint}',
    grpc: invalidArgument,
    exit: 2,
  },

  // Device processes
  VMM_ERR_DEVICE_KIND: {
    message: 'device {device} is of kind "{kind}", which no plugin knows',
    remedy: 'runtime vm device kinds lists the kinds; load the plugin that has it: runtime --plugins vmm,<plugin>',
    grpc: notFound,
    exit: 2,
  },
  VMM_ERR_DEVICE: {
    message: 'device {device} {why}',
    remedy: 'runtime vm device list shows its state, and runtime vm logs what it said.',
    grpc: failedPrecondition,
  },

  // Network
  VMM_ERR_NET_REQUEST: {
    message: '{what} of a network device was refused: {why}',
    remedy: 'runtime vm device list shows the devices; "link" takes up, true or false.',
    grpc: invalidArgument,
    exit: 2,
  },
  VMM_ERR_NET_BACKEND: {
    message: '{backend} cannot be used for device {device}: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },

  // Input and consoles
  VMM_ERR_INPUT: {
    message: 'the input device did not take that: {why}',
    remedy: 'Send events as a list of [type, code, value] with the numbers of linux/input-event-codes.h.',
    grpc: invalidArgument,
    exit: 2,
  },
  VMM_ERR_CONSOLE_PORT: {
    message: 'the console device cannot be used so: {why}',
    remedy: 'Give it the descriptors "in" and "out", both non-blocking, and sizes from 1 to 65535.',
    grpc: invalidArgument,
    exit: 2,
  },

  // Sockets between guest and host
  VMM_ERR_VSOCK_PORT: {
    message: 'vsock has no port {port}',
    remedy: 'Ports are whole numbers from 0 to 4294967294.',
    grpc: invalidArgument,
    exit: 2,
  },
  VMM_ERR_VSOCK_REFUSED: {
    message: 'a call of VM "{vm}" to port {port} of the host was refused: {why}',
    remedy: 'Listen on vsock.sock_{port} in the folder of the VM, or leave it: the guest gets a reset.',
    grpc: failedPrecondition,
  },
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof vmmErrorTable> = defineErrors(vmmErrorTable);
