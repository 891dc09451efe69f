// The methods and signals of org.chromium.VmCicerone as ChromeOS has them: dbus_bindings of vm_tools/cicerone, and the upgrade
// of containers that it had until June 2026.

import type { InterfaceSpec } from '@runtime/sdk/dbus';
import type { Message, MessageInit } from '@runtime/sdk/protobuf';
import type { ciceroneTable } from '../../wire/cicerone.ts';

export const SERVICE = 'org.chromium.VmCicerone';
export const OBJECT_PATH = '/org/chromium/VmCicerone';

type Table = typeof ciceroneTable;
/** Without the package. */
export type MessageName = keyof Table['messages'] extends infer Full
  ? Full extends `vm_tools.cicerone.${infer Short}`
    ? Short
    : never
  : never;
export type Request<N extends MessageName> = Message<Table, `vm_tools.cicerone.${N}`>;
export type Response<N extends MessageName> = MessageInit<Table, `vm_tools.cicerone.${N}`>;

/** `response` left out: vm_tools.EmptyMessage. */
export interface MethodRow {
  readonly request: MessageName;
  readonly response?: MessageName;
}

export const METHODS = {
  AddFileWatch: { request: 'AddFileWatchRequest', response: 'AddFileWatchResponse' },
  ApplyAnsiblePlaybook: { request: 'ApplyAnsiblePlaybookRequest', response: 'ApplyAnsiblePlaybookResponse' },
  AttachUsbToContainer: { request: 'AttachUsbToContainerRequest', response: 'AttachUsbToContainerResponse' },
  CancelExportLxdContainer: {
    request: 'CancelExportLxdContainerRequest',
    response: 'CancelExportLxdContainerResponse',
  },
  CancelImportLxdContainer: {
    request: 'CancelImportLxdContainerRequest',
    response: 'CancelImportLxdContainerResponse',
  },
  CancelUpgradeContainer: { request: 'CancelUpgradeContainerRequest', response: 'CancelUpgradeContainerResponse' },
  ConfigureForArcSideload: { request: 'ConfigureForArcSideloadRequest', response: 'ConfigureForArcSideloadResponse' },
  ConnectChunnel: { request: 'ConnectChunnelRequest', response: 'ConnectChunnelResponse' },
  CreateLxdContainer: { request: 'CreateLxdContainerRequest', response: 'CreateLxdContainerResponse' },
  DeleteLxdContainer: { request: 'DeleteLxdContainerRequest', response: 'DeleteLxdContainerResponse' },
  DetachUsbFromContainer: { request: 'DetachUsbFromContainerRequest', response: 'DetachUsbFromContainerResponse' },
  ExportLxdContainer: { request: 'ExportLxdContainerRequest', response: 'ExportLxdContainerResponse' },
  FileSelected: { request: 'FileSelectedSignal' },
  GetContainerAppIcon: { request: 'ContainerAppIconRequest', response: 'ContainerAppIconResponse' },
  GetContainerToken: { request: 'ContainerTokenRequest', response: 'ContainerTokenResponse' },
  GetDebugInformation: { request: 'GetDebugInformationRequest', response: 'GetDebugInformationResponse' },
  GetGarconSessionInfo: { request: 'GetGarconSessionInfoRequest', response: 'GetGarconSessionInfoResponse' },
  GetLinuxPackageInfo: { request: 'LinuxPackageInfoRequest', response: 'LinuxPackageInfoResponse' },
  GetLxdContainerUsername: { request: 'GetLxdContainerUsernameRequest', response: 'GetLxdContainerUsernameResponse' },
  GetVshSession: { request: 'GetVshSessionRequest', response: 'GetVshSessionResponse' },
  ImportLxdContainer: { request: 'ImportLxdContainerRequest', response: 'ImportLxdContainerResponse' },
  InstallLinuxPackage: { request: 'InstallLinuxPackageRequest', response: 'InstallLinuxPackageResponse' },
  LaunchContainerApplication: {
    request: 'LaunchContainerApplicationRequest',
    response: 'LaunchContainerApplicationResponse',
  },
  LaunchVshd: { request: 'LaunchVshdRequest', response: 'LaunchVshdResponse' },
  ListRunningContainers: { request: 'ListRunningContainersRequest', response: 'ListRunningContainersResponse' },
  NotifyVmStarted: { request: 'NotifyVmStartedRequest' },
  NotifyVmStopped: { request: 'NotifyVmStoppedRequest' },
  NotifyVmStopping: { request: 'NotifyVmStoppingRequest' },
  RegisterVshSession: { request: 'RegisterVshSessionRequest', response: 'RegisterVshSessionResponse' },
  RemoveFileWatch: { request: 'RemoveFileWatchRequest', response: 'RemoveFileWatchResponse' },
  SetTimezone: { request: 'SetTimezoneRequest', response: 'SetTimezoneResponse' },
  SetUpLxdContainerUser: { request: 'SetUpLxdContainerUserRequest', response: 'SetUpLxdContainerUserResponse' },
  StartLxd: { request: 'StartLxdRequest', response: 'StartLxdResponse' },
  StartLxdContainer: { request: 'StartLxdContainerRequest', response: 'StartLxdContainerResponse' },
  StopLxdContainer: { request: 'StopLxdContainerRequest', response: 'StopLxdContainerResponse' },
  UninstallPackageOwningFile: {
    request: 'UninstallPackageOwningFileRequest',
    response: 'UninstallPackageOwningFileResponse',
  },
  UpdateContainerDevices: { request: 'UpdateContainerDevicesRequest', response: 'UpdateContainerDevicesResponse' },
  UpgradeContainer: { request: 'UpgradeContainerRequest', response: 'UpgradeContainerResponse' },
} as const satisfies Readonly<Record<string, MethodRow>>;
export type MethodName = keyof typeof METHODS;

/** What each brings along. */
export const SIGNALS = {
  ApplyAnsiblePlaybookProgress: 'ApplyAnsiblePlaybookProgressSignal',
  ContainerShutdown: 'ContainerShutdownSignal',
  ContainerStarted: 'ContainerStartedSignal',
  ExportLxdContainerProgress: 'ExportLxdContainerProgressSignal',
  FileWatchTriggered: 'FileWatchTriggeredSignal',
  ImportLxdContainerProgress: 'ImportLxdContainerProgressSignal',
  InhibitScreensaver: 'InhibitScreensaverSignal',
  InstallLinuxPackageProgress: 'InstallLinuxPackageProgressSignal',
  LowDiskSpaceTriggered: 'LowDiskSpaceTriggeredSignal',
  LxdContainerCreated: 'LxdContainerCreatedSignal',
  LxdContainerDeleted: 'LxdContainerDeletedSignal',
  LxdContainerDownloading: 'LxdContainerDownloadingSignal',
  LxdContainerStarting: 'LxdContainerStartingSignal',
  LxdContainerStopping: 'LxdContainerStoppingSignal',
  PendingAppListUpdates: 'PendingAppListUpdatesSignal',
  StartLxdProgress: 'StartLxdProgressSignal',
  TremplinStarted: 'TremplinStartedSignal',
  UninhibitScreensaver: 'UninhibitScreensaverSignal',
  UninstallPackageProgress: 'UninstallPackageProgressSignal',
  UpgradeContainerProgress: 'UpgradeContainerProgressSignal',
} as const satisfies Readonly<Record<string, MessageName>>;
export type SignalName = keyof typeof SIGNALS;

export type EmitSignal = <S extends SignalName>(signal: S, values: Response<(typeof SIGNALS)[S]>) => void;

export const INTERFACE: InterfaceSpec = {
  methods: Object.fromEntries(
    Object.keys(METHODS).map((name) => [name, { in: [['request', 'ay']], out: [['response', 'ay']] }]),
  ),
  signals: Object.fromEntries(Object.keys(SIGNALS).map((name) => [name, [['signal', 'ay']]])),
};

type ResponseOf<M extends MethodName> = (typeof METHODS)[M] extends { readonly response: infer N extends MessageName }
  ? Response<N>
  : void;
export type Handler<M extends MethodName> = (
  request: Request<(typeof METHODS)[M]['request']>,
) => Promise<ResponseOf<M>>;
