// Shells in a guest: vsh.proto of platform2/vm_tools/proto. Messages are framed by a length of 32 bits before them.

import type { ProtoTable } from '@runtime/sdk/protobuf';

export const vshTable = {
  messages: {
    'vm_tools.vsh.SetupConnectionRequest': {
      target: [1, 'string'],
      user: [2, 'string'],
      env: [3, 'map<string,string>'],
      command: [4, 'string'],
      argv: [5, 'string', 'repeated'],
      window_rows: [6, 'int32'],
      window_cols: [7, 'int32'],
      nopty: [8, 'bool'],
      cwd: [9, 'string'],
      cwd_pid: [10, 'int32'],
    },
    'vm_tools.vsh.SetupConnectionResponse': {
      status: [1, 'vm_tools.vsh.ConnectionStatus'],
      description: [2, 'string'],
      pid: [3, 'int32'],
    },
    'vm_tools.vsh.ConnectionStatusMessage': {
      status: [1, 'vm_tools.vsh.ConnectionStatus'],
      description: [2, 'string'],
      code: [3, 'sint32'],
    },
    'vm_tools.vsh.DataMessage': { stream: [1, 'vm_tools.vsh.StdioStream'], data: [2, 'bytes'] },
    'vm_tools.vsh.WindowResizeMessage': { rows: [1, 'int32'], cols: [2, 'int32'] },
    'vm_tools.vsh.HostMessage': {
      data_message: [1, 'vm_tools.vsh.DataMessage', 'oneof msg'],
      status_message: [2, 'vm_tools.vsh.ConnectionStatusMessage', 'oneof msg'],
    },
    'vm_tools.vsh.GuestMessage': {
      data_message: [1, 'vm_tools.vsh.DataMessage', 'oneof msg'],
      status_message: [2, 'vm_tools.vsh.ConnectionStatusMessage', 'oneof msg'],
      resize_message: [3, 'vm_tools.vsh.WindowResizeMessage', 'oneof msg'],
      signal: [4, 'vm_tools.vsh.Signal', 'oneof msg'],
    },
  },
  enums: {
    'vm_tools.vsh.ConnectionStatus': { UNKNOWN: 0, READY: 1, EXITED: 2, FAILED: 3 },
    'vm_tools.vsh.StdioStream': { INVALID_STREAM: 0, STDIN_STREAM: 1, STDOUT_STREAM: 2, STDERR_STREAM: 3 },
    'vm_tools.vsh.Signal': { SIGNAL_UNKNOWN: 0, SIGNAL_HUP: 1, SIGNAL_INT: 2, SIGNAL_QUIT: 3, SIGNAL_TERM: 15 },
  },
  services: {},
} as const satisfies ProtoTable;
