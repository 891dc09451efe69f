// What a guest tells the host: vm_host.proto of platform2/vm_tools/proto.

import type { ProtoTable } from '@runtime/sdk/protobuf';

export const vmHostTable = {
  messages: {
    'vm_tools.Timestamp': { seconds: [1, 'int64'], nanos: [2, 'int32'] },
    'vm_tools.LogRecord': {
      severity: [1, 'vm_tools.LogSeverity'],
      timestamp: [2, 'vm_tools.Timestamp'],
      content: [5, 'bytes'],
    },
    'vm_tools.LogRequest': { records: [1, 'vm_tools.LogRecord', 'repeated'] },
    'vm_tools.VmInstallState': {
      state: [1, 'vm_tools.VmInstallState.State'],
      in_progress_step: [2, 'vm_tools.VmInstallState.Step'],
      in_progress_percent: [3, 'int64'],
      failed_reason: [4, 'string'],
    },
    'vm_tools.VmKernelLogRequest': {
      vm_type: [1, 'vm_tools.VmKernelLogRequest.VmType'],
      cid: [2, 'int32'],
      records: [3, 'vm_tools.LogRecord', 'repeated'],
    },
  },
  enums: {
    'vm_tools.VmInstallState.State': { UNKNOWN: 0, IN_PROGRESS: 1, FAILED: 2, SUCCEEDED: 3 },
    'vm_tools.VmInstallState.Step': {
      unknown: 0,
      launcher_start: 1,
      core_start: 2,
      install_fetch_image: 3,
      install_configure: 4,
      install_done: 5,
      install_success: 6,
      install_failure: 7,
    },
    'vm_tools.VmKernelLogRequest.VmType': {
      UNKNOWN: 0,
      TERMINA: 1,
      ARC_VM: 2,
      PLUGIN_VM: 3,
      BOREALIS: 4,
      BRUSCHETTA: 5,
      BAGUETTE: 6,
    },
    'vm_tools.LogSeverity': {
      MISSING: 0,
      EMERGENCY: 1,
      ALERT: 2,
      CRITICAL: 3,
      ERROR: 4,
      WARNING: 5,
      NOTICE: 6,
      INFO: 7,
      DEBUG: 8,
    },
  },
  services: {
    'vm_tools.LogCollector': {
      CollectKernelLogs: ['vm_tools.LogRequest', 'vm_tools.EmptyMessage'],
      CollectUserLogs: ['vm_tools.LogRequest', 'vm_tools.EmptyMessage'],
    },
    'vm_tools.StartupListener': {
      VmReady: ['vm_tools.EmptyMessage', 'vm_tools.EmptyMessage'],
      VmInstallStatus: ['vm_tools.VmInstallState', 'vm_tools.EmptyMessage'],
    },
  },
} as const satisfies ProtoTable;
