// The error table of the crostini plugin. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorConstructors, type ErrorTable, GrpcStatus } from '@runtime/sdk/errors';

const { failedPrecondition, invalidArgument, notFound, deadlineExceeded } = GrpcStatus;

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
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof crostiniErrorTable> = defineErrors(crostiniErrorTable);
