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
  CROSTINI_ERR_VM_SILENT: {
    message: 'VM "{vm}" did not call within {seconds} s of its start',
    remedy: 'Its console may say why: runtime logs {vm}. Without KVM it may need longer: --timeout.',
    grpc: deadlineExceeded,
    retryable: true,
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
  CROSTINI_ERR_COPY: {
    message: '{what} was not copied: {why}',
    remedy: 'runtime cp --help shows how it is used.',
    grpc: failedPrecondition,
  },
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof crostiniErrorTable> = defineErrors(crostiniErrorTable);
