// The error table of the sdk. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorConstructors, type ErrorTable, GrpcStatus } from '@runtime/core/errors';

const {
  invalidArgument,
  alreadyExists,
  permissionDenied,
  failedPrecondition,
  unavailable,
  notFound,
  deadlineExceeded,
  unimplemented,
  resourceExhausted,
} = GrpcStatus;

export const sdkErrorTable = {
  // Configuration
  SDK_ERR_CONFIG: {
    message: '{where}: {why}',
    remedy: 'Correct it; docs/reference/config.md lists the keys.',
    grpc: invalidArgument,
    exit: 2,
  },
  SDK_ERR_CONFIG_MANY: {
    message: 'the configuration has {count} mistakes',
    remedy: 'Correct each; docs/reference/config.md lists the keys.',
    grpc: invalidArgument,
    exit: 2,
  },
  SDK_ERR_CONFIG_READ: {
    message: '{file} cannot be {verb}: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
    exit: 2,
  },
  SDK_ERR_CONFIG_UNSAFE: {
    message: '{file} is not used, since {why}',
    remedy: 'Check what it says; then take it over: chown {user} {file}; chmod go-w {file}',
    grpc: permissionDenied,
    exit: 2,
  },

  // Development
  SDK_ERR_VITE_MISSING: {
    message: 'plugins cannot be loaded from their sources: the package "vite" is not there',
    remedy: 'Install it: npm install --save-dev vite@8.3.8',
    grpc: failedPrecondition,
    exit: 2,
  },

  // The command line
  SDK_ERR_USAGE: {
    message: '{why}',
    remedy: 'See {command} --help.',
    grpc: invalidArgument,
    exit: 2,
  },
  SDK_ERR_NO_PLUGINS: {
    message: 'there is nothing to run: neither --plugins nor the configuration names a plugin',
    remedy: 'runtime --plugins <names>; runtime plugin list shows what there is.',
    grpc: invalidArgument,
    exit: 2,
  },
  SDK_ERR_COMMAND_NEEDS_RUNTIME: {
    message: 'command "{command}" is one of plugin {plugin}, and no runtime runs',
    remedy: 'Start one: runtime --plugins {plugin}; or run this command alone: runtime --plugins {plugin} {command}',
    grpc: unavailable,
    exit: 2,
  },
  SDK_ERR_TRACE_UNKNOWN: {
    message: 'nothing is known of record {id}',
    remedy: 'Only the last trace.history records are kept; ids are the numbers in runtime trace.',
    grpc: notFound,
  },
  SDK_ERR_STOP_TIMEOUT: {
    message: 'the runtime (pid {pid}) has not stopped after {seconds} s; it waits for {pending}',
    remedy: 'Wait longer (--timeout), or end it: kill -KILL {pid}',
    grpc: deadlineExceeded,
  },
  SDK_ERR_NOT_ENABLED: {
    message: 'plugin "{plugin}" is neither loaded nor named in {file}',
    remedy: '{hint}',
    grpc: notFound,
  },

  // System calls
  SDK_ERR_SYSCALL: {
    message: '{syscall} failed with {errno}: {why}',
    remedy: 'See {errno} under ERRORS in the man page of {syscall}.',
  },
  SDK_ERR_PLATFORM: {
    message: '{what} is not there on {platform}',
    remedy: 'Use Linux on x86-64, arm64 or riscv64.',
    grpc: unimplemented,
  },

  // Devices
  SDK_ERR_DEVICE: {
    message: 'device {device}: {why}',
    remedy: 'Correct its definition or its options; the guest goes on with what it had.',
    grpc: failedPrecondition,
  },
  SDK_ERR_DEVICE_LINK: {
    message: 'the other side of the control channel of device {device} {why}',
    remedy: 'runtime vm device list shows the state of each device; runtime vm device restart starts one anew.',
    grpc: unavailable,
  },

  // Memory, descriptors and rings of Linux
  SDK_ERR_MAPPING: {
    message: '{length} bytes at offset {offset} of descriptor {fd} cannot be mapped: {why}',
    remedy: 'Map 1 byte to 4 GiB that the file holds, at a multiple of the page size; map larger memory in parts.',
    grpc: invalidArgument,
  },
  SDK_ERR_MAPPING_CLOSED: {
    message: 'the mapping of {length} bytes was used after it was unmapped',
    remedy: 'Keep the mapping until nothing uses it; buffers of an unmapped one are empty.',
    grpc: failedPrecondition,
  },
  SDK_ERR_WATCH: {
    message: 'descriptor {fd} cannot be watched: {why}',
    remedy: 'Watch an open descriptor that epoll(7) takes, once; use the interest of the watch there is.',
    grpc: failedPrecondition,
  },
  SDK_ERR_SOCKET_ADDRESS: {
    message: 'a Unix socket cannot be called {path}: {why}',
    remedy: 'Use a path of 1 to 107 bytes without NUL; a shorter folder helps.',
    grpc: invalidArgument,
  },
  SDK_ERR_MESSAGE: {
    message: 'a message of {bytes} bytes with {fds} descriptors cannot be passed: {why}',
    remedy: 'Send 1 byte to 16 MiB with at most 253 descriptors.',
    grpc: invalidArgument,
  },
  SDK_ERR_URING: {
    message: 'io_uring cannot be used: {why}',
    remedy: 'Look at `free` before `prepare`, submit what is prepared, and use a ring only until it is closed.',
    grpc: failedPrecondition,
  },
  SDK_ERR_ARGUMENT: {
    message: '{what} cannot be {value}: {why}',
    remedy: 'Give a value in the range that is documented.',
    grpc: invalidArgument,
  },

  // vhost-user
  SDK_ERR_VHOST_USER_PROTOCOL: {
    message: 'the peer does not keep to vhost-user: {why}',
    remedy: 'Connect a front end or back end that does: QEMU, crosvm, cloud-hypervisor, or that of the test kit.',
    grpc: invalidArgument,
  },
  SDK_ERR_VHOST_USER_REFUSED: {
    message: '{request} is refused: {why}',
    remedy: 'runtime vm device list shows what the device has negotiated; leave out the option that needs this.',
    grpc: failedPrecondition,
  },
  SDK_ERR_CAPTURE: {
    message: 'this is no capture of virtqueues: {why}',
    remedy: 'Give a file that a CaptureWriter of this version has written to its end.',
    grpc: invalidArgument,
  },
  SDK_ERR_VHOST_USER_CLOSED: {
    message: 'there is no vhost-user connection for {what}: {why}',
    remedy: 'Connect again; a front end that listens takes the next connection.',
    grpc: unavailable,
  },

  // Writing plugins
  SDK_ERR_PLUGIN_NAME: {
    message: 'a plugin cannot be called "{name}": {why}',
    remedy: 'Use a name such as {suggestion}.',
    grpc: invalidArgument,
    exit: 2,
  },
  SDK_ERR_FOLDER_NOT_EMPTY: {
    message: 'no plugin was written to {folder}, which {why}',
    remedy: 'Give another name, or empty the folder.',
    grpc: alreadyExists,
    exit: 2,
  },
  SDK_ERR_NPM: {
    message: '{command} failed in {folder}: {why}',
    remedy: 'Check the network and that npm is installed; then run it again there.',
    grpc: failedPrecondition,
  },
  SDK_ERR_PACK: {
    message: '@runtime/core and @runtime/sdk could not be packed: {why}',
    remedy: 'In a checkout, mend what npm run check says.',
    grpc: failedPrecondition,
  },

  // Virtqueues
  SDK_ERR_VIRTIO_MEMORY: {
    message: 'the memory table of the front end cannot be used: {why}',
    remedy: 'Give each part of the memory of the guest once, aligned to 8 bytes and within its file.',
    grpc: invalidArgument,
  },
  SDK_ERR_VIRTIO_QUEUE: {
    message: 'virtqueue {index} cannot be started: {why}',
    remedy: 'Set the queue up again, with rings that lie in the memory of the guest.',
    grpc: invalidArgument,
  },
  SDK_ERR_VIRTIO_INFLIGHT: {
    message: 'the record of what is in flight cannot be used: {why}',
    remedy: 'Reset the device in the guest, so that a new record is begun.',
    grpc: failedPrecondition,
  },
  SDK_ERR_VIRTIO_PUSH: {
    message: 'a device gave back chain {head} of virtqueue {index}, but {why}',
    remedy: 'This is a mistake of the device: push each chain once, with at most chain.writableBytes.',
    grpc: failedPrecondition,
  },

  // Images: kernels, initial file systems and root file systems made of Debian packages
  SDK_ERR_IMAGE_TOOL: {
    message: '{tool} is needed for {what}, and is not there',
    remedy: 'Install it: apt-get install {package}',
    grpc: failedPrecondition,
  },
  SDK_ERR_IMAGE_COMMAND: {
    message: '{command} failed while making {what}: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },
  SDK_ERR_IMAGE_MIRROR: {
    message: 'no Debian mirror is known: {why}',
    remedy: 'Name one in /etc/apt/sources.list.d/, or give a VM a kernel and an initial file system of its own.',
    grpc: failedPrecondition,
  },
  SDK_ERR_IMAGE_PACKAGE: {
    message: 'package {package} of Debian {suite} was not got: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },
  SDK_ERR_IMAGE_KERNEL: {
    message: '{file} is no kernel that can be booted: {why}',
    remedy: "Give a bzImage (x86 boot protocol 2.08 or later) or an ELF file of the machine's architecture.",
    grpc: invalidArgument,
  },
  SDK_ERR_IMAGE_MODULE: {
    message: 'kernel {release} has no module {module}, which {by} needs',
    remedy: 'Leave it out, or use a kernel which has it.',
    grpc: invalidArgument,
  },
  SDK_ERR_IMAGE_FORMAT: {
    message: '{file} is not what it should be: {why}',
    remedy: 'Remove it; it is made anew when it is next needed.',
    grpc: failedPrecondition,
  },

  // Protocol buffers
  SDK_ERR_PROTOBUF: {
    message: 'that is no such message: {why}',
    remedy: 'Whoever sent it speaks another protocol, or another version of it.',
    grpc: invalidArgument,
  },

  // D-Bus
  SDK_ERR_DBUS_ADDRESS: {
    message: '{address} is no address of a bus that can be used: {why}',
    remedy: 'Use one such as unix:path=/run/user/1000/bus, or "session" or "system".',
    grpc: invalidArgument,
  },
  SDK_ERR_DBUS_CONNECT: {
    message: 'there is no connection to the bus at {address}: {why}',
    remedy: 'Check that a dbus-daemon runs there; dbus-run-session starts one for a command.',
    grpc: unavailable,
    retryable: true,
  },
  SDK_ERR_DBUS_CLOSED: {
    message: 'the connection to the bus at {address} has ended: {why}',
    remedy: 'Connect again.',
    grpc: unavailable,
    retryable: true,
  },
  SDK_ERR_DBUS_PROTOCOL: {
    message: 'this is no D-Bus: {why}',
    remedy: 'Whoever sent it has a mistake, or speaks something else.',
    grpc: invalidArgument,
  },
  SDK_ERR_DBUS_VALUE: {
    message: '{value} is not {what}',
    remedy: 'Give values that fit the signature, and names as the D-Bus specification has them.',
    grpc: invalidArgument,
  },
  SDK_ERR_DBUS_TIMEOUT: {
    message: '{service} has not answered {method} within {seconds} s',
    remedy: 'Wait longer, or look at what it does.',
    grpc: deadlineExceeded,
  },
  SDK_ERR_DBUS_REMOTE: {
    message: '{service} answered {method} with {name}: {why}',
    remedy: 'The message is that of the service.',
    grpc: failedPrecondition,
  },
  SDK_ERR_DBUS_NAME_TAKEN: {
    message: '{name} belongs to {owner} on the bus',
    remedy: 'Stop what has it (busctl status {name} tells), or wait for it in the queue.',
    grpc: alreadyExists,
  },
  SDK_ERR_DBUS_LIMIT: {
    message: 'the connection to the bus is at a limit: {why}',
    remedy: 'Wait for answers before calling again, and send less at once.',
    grpc: resourceExhausted,
  },

  // VMs, as a client has them
  SDK_ERR_OUTPUT_TOO_LONG: {
    message: 'the command wrote more than {limit} bytes',
    remedy: 'Read its output as it comes, with spawn(), or allow more: maxBytes.',
    grpc: resourceExhausted,
  },

  // The test kit
  SDK_ERR_TEST_PROBLEMS: {
    message: 'the test passed over problems: {problems}',
    remedy: 'Mend them, or name those that are meant: createTestRuntime({ allow: [...] })',
    grpc: failedPrecondition,
  },
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof sdkErrorTable> = defineErrors(sdkErrorTable);
