// The error table of the sdk. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorConstructors, type ErrorTable, GrpcStatus } from '@runtime/core';

const { invalidArgument, permissionDenied, failedPrecondition } = GrpcStatus;

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
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof sdkErrorTable> = defineErrors(sdkErrorTable);
