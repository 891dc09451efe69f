// What a guest reports of programs that end when they should not: vm_crash.proto of platform2/vm_tools/proto.

import type { ProtoTable } from '@runtime/sdk/protobuf';

export const vmCrashTable = {
  messages: {
    'vm_tools.cicerone.MetricsConsentResponse': { consent_granted: [1, 'bool'] },
    'vm_tools.cicerone.CrashReport': {
      metadata: [1, 'map<string,string>'],
      minidump: [2, 'bytes'],
      process_tree: [3, 'string'],
    },
    'vm_tools.cicerone.FailureReport': { failed_process: [1, 'string'] },
  },
  enums: {},
  services: {
    'vm_tools.cicerone.CrashListener': {
      CheckMetricsConsent: ['vm_tools.EmptyMessage', 'vm_tools.cicerone.MetricsConsentResponse'],
      SendCrashReport: ['vm_tools.cicerone.CrashReport', 'vm_tools.EmptyMessage'],
      SendFailureReport: ['vm_tools.cicerone.FailureReport', 'vm_tools.EmptyMessage'],
    },
  },
} as const satisfies ProtoTable;
