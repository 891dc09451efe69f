// The error table of the sandbox plugin. docs/reference/errors.md is made from it, and a test holds the two together.

import { defineErrors, type ErrorConstructors, type ErrorTable, GrpcStatus } from '@runtime/sdk/errors';

const { invalidArgument, notFound, failedPrecondition } = GrpcStatus;

export const sandboxErrorTable = {
  // Seccomp policies
  SANDBOX_ERR_POLICY: {
    message: '{file}:{line}:{column}: {why}{suggestion}',
    remedy: 'docs/guides/sandbox-policies.md has the language in both of its dialects (--dialect c, --dialect python).',
    grpc: invalidArgument,
  },
  SANDBOX_ERR_POLICY_FILE: {
    message: 'the policy {file} cannot be read: {why}',
    remedy: 'See the path, and who may read it.',
    grpc: notFound,
  },
  SANDBOX_ERR_POLICY_TOO_LONG: {
    message: 'the policy {file} makes a program of {length} instructions; the kernel takes {limit}',
    remedy: 'Allow system calls whole where their arguments matter least, or split the program that needs them all.',
    grpc: failedPrecondition,
  },
  SANDBOX_ERR_POLICY_TOO_COMPLEX: {
    message: 'the policy {file} is too entangled to be worked out: {why}',
    remedy: 'Write fewer conditions on different arguments of one system call into one line.',
    grpc: failedPrecondition,
  },
  SANDBOX_ERR_ARCHITECTURE: {
    message: 'there is no table of system calls for "{architecture}"{suggestion}',
    remedy: 'Known are {known}; others by --constants, a file as minijail makes it (constants.json).',
    grpc: invalidArgument,
    exit: 2,
  },
  SANDBOX_ERR_TABLES: {
    message: 'the table {file} cannot be used: {why}',
    remedy: "It must be JSON as minijail's generate_constants_json.py makes it.",
    grpc: invalidArgument,
  },
  SANDBOX_ERR_USAGE: {
    message: '--{option}: {why}',
    remedy: 'runtime sandbox policy check --help, and the like, say what can be given.',
    grpc: invalidArgument,
    exit: 2,
  },
  SANDBOX_ERR_CALL: {
    message: 'the call "{call}" cannot be understood: {why}{suggestion}',
    remedy: 'Write the name or number of a system call, then its arguments: ioctl 3 TCGETS, or ioctl arg1=TCGETS.',
    grpc: invalidArgument,
    exit: 2,
  },
  SANDBOX_ERR_EXPECTATION: {
    message: '{file}:{line}: {why}',
    remedy: 'A line is a call, an arrow and an action: ioctl arg1=TCGETS -> allow.',
    grpc: invalidArgument,
  },
  // BPF programs
  SANDBOX_ERR_PROGRAM: {
    message: 'the kernel would refuse the program at instruction {index}: {why}',
    remedy: 'It must be a filter for seccomp(2): an array of struct sock_filter, little-endian.',
    grpc: invalidArgument,
  },
  // Jails
  SANDBOX_ERR_JAIL: {
    message: '{origin}: {why}',
    remedy: 'docs/guides/sandbox-jails.md has all that a plan can say.',
    grpc: invalidArgument,
  },
  SANDBOX_ERR_FLAG: {
    message: '{flag}: {why}',
    remedy: 'runtime sandbox run --help has the flags of minijail0 that are taken.',
    grpc: invalidArgument,
    exit: 1,
  },
  SANDBOX_ERR_UNSUPPORTED: {
    message: '{what} cannot be had: {why}',
    remedy: '{hint}',
    grpc: failedPrecondition,
    exit: 1,
  },
  SANDBOX_ERR_GUARANTEE: {
    message: 'the jail of {process} cannot be made: {why}',
    remedy: '{hint}; or have it be best effort: settings.sandbox.config.strength = "best-effort".',
    grpc: failedPrecondition,
  },
  // Traces
  SANDBOX_ERR_TRACE: {
    message: '{file}:{line}: {why}',
    remedy: 'Make the trace with: strace -f -e raw=all -o trace.txt <command>',
    grpc: invalidArgument,
  },
} as const satisfies ErrorTable;

export const errors: ErrorConstructors<typeof sandboxErrorTable> = defineErrors(sandboxErrorTable);
