// What the host asks of a container: container_guest.proto of platform2/vm_tools/proto.

import type { ProtoTable } from '@runtime/sdk/protobuf';

export const containerGuestTable = {
  messages: {
    'vm_tools.container.LaunchApplicationRequest': {
      desktop_file_id: [1, 'string'],
      files: [2, 'string', 'repeated'],
      display_scaling: [3, 'vm_tools.container.LaunchApplicationRequest.DisplayScaling'],
      container_features: [4, 'vm_tools.container.ContainerFeature', 'repeated'],
    },
    'vm_tools.container.LaunchApplicationResponse': { success: [1, 'bool'], failure_reason: [2, 'string'] },
    'vm_tools.container.IconRequest': {
      desktop_file_ids: [1, 'string', 'repeated'],
      icon_size: [2, 'int32'],
      scale: [3, 'int32'],
    },
    'vm_tools.container.DesktopIcon': {
      desktop_file_id: [1, 'string'],
      icon: [2, 'bytes'],
      format: [3, 'vm_tools.container.DesktopIcon.Format'],
    },
    'vm_tools.container.IconResponse': { desktop_icons: [1, 'vm_tools.container.DesktopIcon', 'repeated'] },
    'vm_tools.container.LaunchVshdRequest': {
      port: [1, 'uint32'],
      container_features: [2, 'vm_tools.container.ContainerFeature', 'repeated'],
    },
    'vm_tools.container.LaunchVshdResponse': { success: [1, 'bool'], failure_reason: [2, 'string'] },
    'vm_tools.container.LinuxPackageInfoRequest': { file_path: [1, 'string'], package_name: [2, 'string'] },
    'vm_tools.container.LinuxPackageInfoResponse': {
      success: [1, 'bool'],
      failure_reason: [2, 'string'],
      package_id: [3, 'string'],
      license: [4, 'string'],
      description: [5, 'string'],
      project_url: [6, 'string'],
      size: [7, 'uint64'],
      summary: [8, 'string'],
    },
    'vm_tools.container.InstallLinuxPackageRequest': {
      file_path: [1, 'string'],
      package_id: [5, 'string'],
      command_uuid: [6, 'string'],
    },
    'vm_tools.container.InstallLinuxPackageResponse': {
      status: [1, 'vm_tools.container.InstallLinuxPackageResponse.Status'],
      failure_reason: [2, 'string'],
    },
    'vm_tools.container.UninstallPackageOwningFileRequest': { desktop_file_id: [1, 'string'] },
    'vm_tools.container.UninstallPackageOwningFileResponse': {
      status: [1, 'vm_tools.container.UninstallPackageOwningFileResponse.Status'],
      failure_reason: [2, 'string'],
    },
    'vm_tools.container.GetDebugInformationRequest': {},
    'vm_tools.container.GetDebugInformationResponse': { debug_information: [1, 'string'] },
    'vm_tools.container.ConnectChunnelRequest': { chunneld_port: [1, 'uint32'], target_tcp4_port: [2, 'uint32'] },
    'vm_tools.container.ConnectChunnelResponse': { success: [1, 'bool'], failure_reason: [2, 'string'] },
    'vm_tools.container.ApplyAnsiblePlaybookRequest': { playbook: [1, 'string'] },
    'vm_tools.container.ApplyAnsiblePlaybookResponse': {
      status: [1, 'vm_tools.container.ApplyAnsiblePlaybookResponse.Status'],
      failure_reason: [2, 'string'],
    },
    'vm_tools.container.ConfigureForArcSideloadRequest': {},
    'vm_tools.container.ConfigureForArcSideloadResponse': {
      status: [1, 'vm_tools.container.ConfigureForArcSideloadResponse.Status'],
      failure_reason: [2, 'string'],
    },
    'vm_tools.container.AddFileWatchRequest': { path: [1, 'string'] },
    'vm_tools.container.AddFileWatchResponse': {
      status: [1, 'vm_tools.container.AddFileWatchResponse.Status'],
      failure_reason: [2, 'string'],
    },
    'vm_tools.container.RemoveFileWatchRequest': { path: [1, 'string'] },
    'vm_tools.container.RemoveFileWatchResponse': {
      status: [1, 'vm_tools.container.RemoveFileWatchResponse.Status'],
      failure_reason: [2, 'string'],
    },
    'vm_tools.container.GetGarconSessionInfoRequest': {},
    'vm_tools.container.GetGarconSessionInfoResponse': {
      status: [1, 'vm_tools.container.GetGarconSessionInfoResponse.Status'],
      failure_reason: [2, 'string'],
      container_username: [3, 'string'],
      container_homedir: [4, 'string'],
      sftp_vsock_port: [5, 'uint32'],
    },
  },
  enums: {
    'vm_tools.container.LaunchApplicationRequest.DisplayScaling': { UNSCALED: 0, SCALED: 1 },
    'vm_tools.container.DesktopIcon.Format': { PNG: 0, SVG: 1 },
    'vm_tools.container.InstallLinuxPackageResponse.Status': { STARTED: 0, FAILED: 1, INSTALL_ALREADY_ACTIVE: 2 },
    'vm_tools.container.UninstallPackageOwningFileResponse.Status': {
      STARTED: 0,
      FAILED: 1,
      BLOCKING_OPERATION_IN_PROGRESS: 2,
    },
    'vm_tools.container.ApplyAnsiblePlaybookResponse.Status': { UNKNOWN: 0, STARTED: 1, FAILED: 2 },
    'vm_tools.container.ConfigureForArcSideloadResponse.Status': { UNKNOWN: 0, SUCCEEDED: 2, FAILED: 3 },
    'vm_tools.container.AddFileWatchResponse.Status': { UNKNOWN: 0, SUCCEEDED: 2, FAILED: 1 },
    'vm_tools.container.RemoveFileWatchResponse.Status': { UNKNOWN: 0, SUCCEEDED: 2, FAILED: 1 },
    'vm_tools.container.GetGarconSessionInfoResponse.Status': { UNKNOWN: 0, FAILED: 1, SUCCEEDED: 2 },
    'vm_tools.container.ContainerFeature': {
      UNKNOWN: 0,
      ENABLE_GTK3_IME_SUPPORT: 1,
      ENABLE_VIRTUAL_KEYBOARD_SUPPORT: 2,
      ENABLE_QT_IME_SUPPORT: 3,
    },
  },
  services: {
    'vm_tools.container.Garcon': {
      LaunchApplication: [
        'vm_tools.container.LaunchApplicationRequest',
        'vm_tools.container.LaunchApplicationResponse',
      ],
      GetIcon: ['vm_tools.container.IconRequest', 'vm_tools.container.IconResponse'],
      LaunchVshd: ['vm_tools.container.LaunchVshdRequest', 'vm_tools.container.LaunchVshdResponse'],
      GetLinuxPackageInfo: [
        'vm_tools.container.LinuxPackageInfoRequest',
        'vm_tools.container.LinuxPackageInfoResponse',
      ],
      InstallLinuxPackage: [
        'vm_tools.container.InstallLinuxPackageRequest',
        'vm_tools.container.InstallLinuxPackageResponse',
      ],
      UninstallPackageOwningFile: [
        'vm_tools.container.UninstallPackageOwningFileRequest',
        'vm_tools.container.UninstallPackageOwningFileResponse',
      ],
      GetDebugInformation: [
        'vm_tools.container.GetDebugInformationRequest',
        'vm_tools.container.GetDebugInformationResponse',
      ],
      ConnectChunnel: ['vm_tools.container.ConnectChunnelRequest', 'vm_tools.container.ConnectChunnelResponse'],
      ApplyAnsiblePlaybook: [
        'vm_tools.container.ApplyAnsiblePlaybookRequest',
        'vm_tools.container.ApplyAnsiblePlaybookResponse',
      ],
      ConfigureForArcSideload: [
        'vm_tools.container.ConfigureForArcSideloadRequest',
        'vm_tools.container.ConfigureForArcSideloadResponse',
      ],
      AddFileWatch: ['vm_tools.container.AddFileWatchRequest', 'vm_tools.container.AddFileWatchResponse'],
      RemoveFileWatch: ['vm_tools.container.RemoveFileWatchRequest', 'vm_tools.container.RemoveFileWatchResponse'],
      GetGarconSessionInfo: [
        'vm_tools.container.GetGarconSessionInfoRequest',
        'vm_tools.container.GetGarconSessionInfoResponse',
      ],
    },
  },
} as const satisfies ProtoTable;
