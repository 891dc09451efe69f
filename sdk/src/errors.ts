// The error table of the sdk. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorConstructors, type ErrorTable, GrpcStatus } from '@runtime/core';

const { failedPrecondition } = GrpcStatus;

export const sdkErrorTable = {
  // Development
  SDK_ERR_VITE_MISSING: {
    message: 'plugins cannot be loaded from their sources: the package "vite" is not there',
    remedy: 'Install it: npm install --save-dev vite@8.3.8',
    grpc: failedPrecondition,
    exit: 2,
  },
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof sdkErrorTable> = defineErrors(sdkErrorTable);
