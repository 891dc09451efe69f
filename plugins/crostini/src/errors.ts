// The error table of the crostini plugin. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorConstructors, type ErrorTable, GrpcStatus } from '@runtime/sdk/errors';

const { failedPrecondition, invalidArgument, notFound, deadlineExceeded, dataLoss, unavailable } = GrpcStatus;

export const crostiniErrorTable = {
  // Virtual machines
  CROSTINI_ERR_VM_NOT_FOUND: {
    message: 'there is no VM called "{vm}"',
    remedy: 'runtime list shows those there are.',
    grpc: notFound,
  },
  CROSTINI_ERR_VM_NAME: {
    message: '"{vm}" cannot be the name of a VM: {why}',
    remedy: 'Give it a name of 1 to 60 bytes.',
    grpc: invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_VM_STATE: {
    message: 'VM "{vm}" is {state}, and cannot be {verb}',
    remedy: 'runtime list shows the states.',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_VM_START: {
    message: 'VM "{vm}" did not start: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_VM_ENDED: {
    message: 'VM "{vm}" ended before it was ready ({why}){console}',
    remedy: 'All that its console has: runtime logs {vm}. Another image may help: runtime termina list.',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_USAGE: {
    message: '--{option}: {why}',
    remedy: 'runtime help and the name of the command say what can be given.',
    grpc: invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_SOCKET_FOLDER: {
    message: 'the sockets of VMs cannot lie in {folder}: {why}',
    remedy: 'Set XDG_RUNTIME_DIR to a short path of a folder of your own, with mode 0700.',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_SNAPSHOT: {
    message: 'no snapshot was made of a guest: {why}',
    remedy: 'VMs boot without one. To do without for good: crostini.snapshots: off',
    grpc: unavailable,
    retryable: true,
  },
  CROSTINI_ERR_VM_SILENT: {
    message: 'VM "{vm}" did not call within {seconds} s of its start{console}',
    remedy: 'Its console may say why: runtime logs {vm}. Without KVM it may need longer: --timeout.',
    grpc: deadlineExceeded,
    retryable: true,
  },
  CROSTINI_ERR_NETWORK: {
    message: 'VMs cannot have a network of their own here: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },
  // vsh
  CROSTINI_ERR_VSH_FRAME: {
    message: 'a message of vsh cannot be: {why}',
    remedy: 'What is at the other end does not speak vsh, or the guest is broken: restart the VM.',
    grpc: dataLoss,
  },
  CROSTINI_ERR_VSH_UNREACHABLE: {
    message: 'nothing answers to vsh at {where}: {why}',
    remedy: 'The VM may still start, or its vshd has ended: runtime logs.',
    grpc: unavailable,
    retryable: true,
  },
  CROSTINI_ERR_VSH_REFUSED: {
    message: 'the guest refused to run the command: {why}',
    remedy: 'See the user, the working folder and the command.',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_VSH_LOST: {
    message: 'the connection to the command in the guest was lost',
    remedy: 'The VM has stopped, or its vshd has: runtime list, runtime logs.',
    grpc: unavailable,
  },
  CROSTINI_ERR_VSH_TOO_LONG: {
    message: 'command, environment and folder take {bytes} bytes; vsh carries {limit}',
    remedy: 'Put the command into a script, copy it with runtime cp, and run that.',
    grpc: invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_NOT_RUN: {
    message: 'VM "{vm}" did not run the command to its end: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
    // As docker has it; 126 and 127 come from the guest.
    exit: 125,
  },
  CROSTINI_ERR_COPY: {
    message: '{what} was not copied: {why}',
    remedy: 'runtime cp --help shows how it is used.',
    grpc: failedPrecondition,
  },

  // Templates
  CROSTINI_ERR_TEMPLATE: {
    message: '{where}: {why}',
    remedy: 'Correct it; docs/guides/templates.md says what a template can have.',
    grpc: invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_TEMPLATE_MANY: {
    message: 'template {file} has {count} mistakes',
    remedy: 'Correct each; docs/guides/templates.md says what a template can have.',
    grpc: invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_TEMPLATE_ONCE: {
    message: 'script "{script}" of the template cannot be run once and never again: a VM of profile fast keeps nothing',
    remedy: 'Give it when: each-boot, or the VM profile: full.',
    grpc: invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_TEMPLATE_USER: {
    message: 'user "{user}" was not made in VM "{vm}": {why}',
    remedy: 'Give another name or number. A VM that was to follow a template is stopped again: runtime list',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_TEMPLATE_SCRIPT: {
    message: 'script "{script}" of the template {why}, and VM "{vm}" was stopped{output}',
    remedy:
      'All that it wrote: runtime logs {vm}. To look into the VM, start it without the template: runtime start {vm}',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_PORT_TAKEN: {
    message: 'port {port} of this computer cannot lead to VM "{vm}": {why}',
    remedy: 'Choose another one, or end what has it: ss -tulnp',
    grpc: failedPrecondition,
  },

  // Disks
  CROSTINI_ERR_DISK_OWNER: {
    message: '"{owner}" cannot be the owner of a disk',
    remedy: 'Owners are called by 1 to 64 hexadecimal digits.',
    grpc: GrpcStatus.invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_DISK_STORE: {
    message: 'the disks cannot be kept in {folder}: {why}',
    remedy: 'It has to be a folder of this user; remove or rename what is there.',
    grpc: GrpcStatus.failedPrecondition,
  },
  CROSTINI_ERR_DISK_NOT_FOUND: {
    message: 'VM "{vm}" has no disk',
    remedy: 'runtime disk list shows those there are.',
    grpc: GrpcStatus.notFound,
  },
  CROSTINI_ERR_DISK_EXISTS: {
    message: 'VM "{vm}" has a disk already',
    remedy: 'Use another name, or remove it with all that is on it: runtime disk destroy {vm}',
    grpc: GrpcStatus.alreadyExists,
  },
  CROSTINI_ERR_DISK_IN_USE: {
    message: 'the disk of VM "{vm}" is in use, and cannot be {verb}',
    remedy: 'Stop the VM first: runtime stop {vm}',
    grpc: GrpcStatus.failedPrecondition,
  },
  CROSTINI_ERR_DISK_OP_IN_PROGRESS: {
    message: 'something is being done with the disk of VM "{vm}"',
    remedy: 'runtime disk status shows what. Wait for it, or end it: runtime disk cancel.',
    grpc: GrpcStatus.aborted,
    retryable: true,
  },
  CROSTINI_ERR_DISK_BUSY: {
    message: '{max} disks are worked on already',
    remedy: 'Wait until one of them is done: runtime disk status.',
    grpc: GrpcStatus.resourceExhausted,
    retryable: true,
  },
  CROSTINI_ERR_DISK_SIZE: {
    message: 'a disk cannot have {bytes} bytes: {why}',
    remedy: 'Give it from 1 MiB to what the configuration allows.',
    grpc: GrpcStatus.invalidArgument,
    exit: 2,
  },
  CROSTINI_ERR_DISK_SPACE: {
    message: 'there is not enough space for the disk: {why}',
    remedy: 'Make some on the file system of {folder}, or take a smaller disk.',
    grpc: GrpcStatus.resourceExhausted,
  },
  CROSTINI_ERR_DISK_RESIZE: {
    message: 'the disk of VM "{vm}" was not resized: {why}',
    remedy: '{hint}',
    grpc: GrpcStatus.failedPrecondition,
  },
  CROSTINI_ERR_DISK_FILE: {
    message: '{file} cannot be used: {why}',
    remedy: '{hint}',
    grpc: GrpcStatus.failedPrecondition,
  },
  CROSTINI_ERR_DISK_IMAGE: {
    message: 'this is not the image of a disk: {why}',
    remedy: 'Export the disk anew, or say which format the file has.',
    grpc: GrpcStatus.invalidArgument,
  },
  CROSTINI_ERR_DISK_TYPE: {
    message: 'the type of the VM cannot be told: {why}',
    remedy: 'Say which one it is: --type termina, or --type baguette.',
    grpc: GrpcStatus.invalidArgument,
  },
  CROSTINI_ERR_DISK_JOB_NOT_FOUND: {
    message: 'there is no job {uuid}',
    remedy: 'runtime disk status shows those there are; only the last that ended are kept.',
    grpc: GrpcStatus.notFound,
  },
  CROSTINI_ERR_DISK_JOB_LASTS: {
    message: 'job {uuid} cannot be ended: the file system of a guest is being resized',
    remedy: 'Wait for it: runtime disk status {uuid}',
    grpc: GrpcStatus.failedPrecondition,
  },
  CROSTINI_ERR_DISK_CANCELLED: {
    message: 'the job was cancelled',
    remedy: 'Nothing of it is left. Begin it anew if it is wanted after all.',
    grpc: GrpcStatus.cancelled,
  },

  // Containers
  CROSTINI_ERR_CONTAINER_NOT_FOUND: {
    message: 'there is no container "{container}" in VM "{vm}"',
    remedy: 'runtime container list shows those there are.',
    grpc: notFound,
  },
  CROSTINI_ERR_CONTAINER_STATE: {
    message: 'container "{container}" in VM "{vm}" does not run, and cannot be {verb}',
    remedy: 'Start it: runtime container start {container}',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_CONTAINER: {
    message: 'container "{container}" in VM "{vm}" was not {verb}: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_CONTAINER_SILENT: {
    message: '{who} in VM "{vm}" did not call within {seconds} s',
    remedy: 'What it does is in the log: runtime logs {vm}',
    grpc: deadlineExceeded,
    retryable: true,
  },
  CROSTINI_ERR_CONTAINER_TOKEN: {
    message: 'no container of this VM has that token',
    remedy: 'Containers are started by tremplin, which gives each a token of its own.',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_CONTAINER_IMAGE: {
    message: 'the image of the container cannot be made, for {what} failed: {why}',
    remedy: 'If it is not there, install it: apt-get install {package}. Else see what it says, and try again.',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_LXD: {
    message: 'LXD does not run in VM "{vm}": {why}',
    remedy: 'What it says is in the log: runtime logs {vm}',
    grpc: failedPrecondition,
  },

  // Images
  CROSTINI_ERR_IMAGE_BUILD: {
    message: "Termina's image cannot be made, for {what} failed: {why}",
    remedy: 'Try again with newer packages: runtime termina build --refresh',
    grpc: failedPrecondition,
  },
  CROSTINI_ERR_IMAGE_NOT_FOUND: {
    message: 'no image is meant by "{image}": {why}',
    remedy: 'runtime termina list shows those there are.',
    grpc: notFound,
  },
  CROSTINI_ERR_IMAGE_DAMAGED: {
    message: 'image {image} is not what it was when it was made: {why}',
    remedy:
      'Remove it, and the next start makes it anew: runtime termina remove {image}. Look at all images: runtime termina verify',
    grpc: dataLoss,
  },
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof crostiniErrorTable> = defineErrors(crostiniErrorTable);
