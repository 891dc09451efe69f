// The methods and signals of org.chromium.VmConcierge as ChromeOS has them: dbus_bindings of vm_tools/concierge.

import type { Argument, InterfaceSpec, MethodSpec } from '@runtime/sdk/dbus';
import type { conciergeTable } from '../wire/concierge.ts';

export const SERVICE = 'org.chromium.VmConcierge';
export const OBJECT_PATH = '/org/chromium/VmConcierge';

type Messages = (typeof conciergeTable)['messages'];
/** Without the package. */
export type MessageName = keyof Messages extends infer Full
  ? Full extends `vm_tools.concierge.${infer Short}`
    ? Short
    : never
  : never;

export interface MethodRow {
  readonly request?: MessageName;
  readonly response?: MessageName;
  /** What comes, or goes, along: its name, and whether it is one descriptor or several. */
  readonly fds?: readonly [name: string, type: 'h' | 'ah'];
  readonly outFds?: readonly [name: string, type: 'ah'];
  /** What the request is called, where it is not `request`. */
  readonly called?: string;
}

export const METHODS = {
  AddGroupPermissionMesa: { request: 'AddGroupPermissionMesaRequest' },
  AdjustVm: { request: 'AdjustVmRequest', response: 'SuccessFailureResponse' },
  AggressiveBalloon: { request: 'AggressiveBalloonRequest', response: 'SuccessFailureResponse' },
  ArcVmCompleteBoot: { request: 'ArcVmCompleteBootRequest', response: 'ArcVmCompleteBootResponse' },
  AttachKey: { request: 'AttachKeyRequest', response: 'AttachKeyResponse', fds: ['hidraw', 'h'] },
  AttachNetDevice: { request: 'AttachNetDeviceRequest', response: 'AttachNetDeviceResponse' },
  AttachUsbDevice: { request: 'AttachUsbDeviceRequest', response: 'AttachUsbDeviceResponse', fds: ['fd', 'h'] },
  CancelDiskImageOperation: { request: 'CancelDiskImageRequest', response: 'SuccessFailureResponse' },
  CreateDiskImage: { request: 'CreateDiskImageRequest', response: 'CreateDiskImageResponse', fds: ['in_fd', 'ah'] },
  DestroyDiskImage: { request: 'DestroyDiskImageRequest', response: 'DestroyDiskImageResponse' },
  DetachNetDevice: { request: 'DetachNetDeviceRequest', response: 'SuccessFailureResponse' },
  DetachUsbDevice: { request: 'DetachUsbDeviceRequest', response: 'SuccessFailureResponse' },
  DiskImageStatus: { request: 'DiskImageStatusRequest', response: 'DiskImageStatusResponse' },
  ExportDiskImage: { request: 'ExportDiskImageRequest', response: 'ExportDiskImageResponse', fds: ['fds', 'ah'] },
  GetBaguetteImageUrl: { response: 'GetBaguetteImageUrlResponse' },
  GetBalloonInfo: { request: 'GetBalloonInfoRequest', response: 'GetBalloonInfoResponse' },
  GetDnsSettings: { response: 'DnsSettings' },
  GetVmEnterpriseReportingInfo: {
    request: 'GetVmEnterpriseReportingInfoRequest',
    response: 'GetVmEnterpriseReportingInfoResponse',
  },
  GetVmGpuCachePath: { request: 'GetVmGpuCachePathRequest', response: 'GetVmGpuCachePathResponse' },
  GetVmInfo: { request: 'GetVmInfoRequest', response: 'GetVmInfoResponse' },
  GetVmLaunchAllowed: {
    request: 'GetVmLaunchAllowedRequest',
    response: 'GetVmLaunchAllowedResponse',
    called: 'response',
  },
  GetVmLogs: { request: 'GetVmLogsRequest', response: 'GetVmLogsResponse' },
  GetVmMemoryManagementKillsConnection: {
    request: 'GetVmMemoryManagementKillsConnectionRequest',
    response: 'GetVmMemoryManagementKillsConnectionResponse',
    outFds: ['out_fd', 'ah'],
  },
  ImportDiskImage: { request: 'ImportDiskImageRequest', response: 'ImportDiskImageResponse', fds: ['in_fd', 'h'] },
  InstallPflash: { request: 'InstallPflashRequest', response: 'SuccessFailureResponse', fds: ['plash_src_fd', 'h'] },
  ListUsbDevices: { request: 'ListUsbDeviceRequest', response: 'ListUsbDeviceResponse' },
  ListVmDisks: { request: 'ListVmDisksRequest', response: 'ListVmDisksResponse' },
  ListVms: { request: 'ListVmsRequest', response: 'ListVmsResponse' },
  ModifyFakePowerConfig: { request: 'ModifyFakePowerConfigRequest', response: 'SuccessFailureResponse' },
  MuteVmAudio: { request: 'MuteVmAudioRequest', response: 'SuccessFailureResponse' },
  ReclaimVmMemory: { request: 'ReclaimVmMemoryRequest', response: 'ReclaimVmMemoryResponse' },
  ResizeDiskImage: { request: 'ResizeDiskImageRequest', response: 'ResizeDiskImageResponse' },
  ResumeVm: { request: 'ResumeVmRequest', response: 'SuccessFailureResponse' },
  SetBalloonTimer: { request: 'SetBalloonTimerRequest', response: 'SuccessFailureResponse' },
  SetCrostiniVmType: { request: 'SetCrostiniVmTypeRequest', response: 'SetCrostiniVmTypeResponse' },
  SetUpVmUser: { request: 'SetUpVmUserRequest', response: 'SetUpVmUserResponse' },
  SetVmCpuRestriction: { request: 'SetVmCpuRestrictionRequest', response: 'SetVmCpuRestrictionResponse' },
  StartArcVm: { request: 'StartArcVmRequest', response: 'StartVmResponse' },
  StartPluginVm: { request: 'StartPluginVmRequest', response: 'StartVmResponse' },
  StartVm: { request: 'StartVmRequest', response: 'StartVmResponse', fds: ['fd', 'ah'] },
  StopAllVms: {},
  StopVm: { request: 'StopVmRequest', response: 'SuccessFailureResponse' },
  StopVmWithoutOwnerId: { request: 'StopVmRequest', response: 'SuccessFailureResponse' },
  SuspendVm: { request: 'SuspendVmRequest', response: 'SuccessFailureResponse' },
  SwapVm: { request: 'SwapVmRequest', response: 'SuccessFailureResponse' },
  SyncVmTimes: { response: 'SyncVmTimesResponse' },
} as const satisfies Readonly<Record<string, MethodRow>>;
export type MethodName = keyof typeof METHODS;

/** What each brings along. */
export const SIGNALS = {
  DiskImageProgress: 'DiskImageStatusResponse',
  DnsSettingsChanged: 'DnsSettings',
  VmGuestUserlandReadySignal: 'VmGuestUserlandReadySignal',
  VmInstallStateSignal: 'VmInstallStateSignal',
  VmStartedSignal: 'VmStartedSignal',
  VmStartingUpSignal: 'VmStartingUpSignal',
  VmStoppedSignal: 'VmStoppedSignal',
  VmStoppingSignal: 'VmStoppingSignal',
  VmSwappingSignal: 'VmSwappingSignal',
} as const satisfies Readonly<Record<string, MessageName>>;
export type SignalName = keyof typeof SIGNALS;

/** Those that tell of what does not happen here. */
export const NEVER_SENT: Partial<Readonly<Record<SignalName, string>>> = {
  VmGuestUserlandReadySignal: 'only Android tells it (ArcVmCompleteBoot)',
  VmInstallStateSignal: 'only Baguette VMs install themselves',
  VmSwappingSignal: 'only the memory of Android is swapped out (SwapVm)',
};

/** Clients of 2021 send descriptors one by one, or none; those of today send one list. */
const SINGLE_FDS = /^ayh*$/;

export const INTERFACE: InterfaceSpec = {
  methods: Object.fromEntries(Object.entries<MethodRow>(METHODS).map(([name, row]) => [name, argumentsOf(row)])),
  signals: Object.fromEntries(Object.keys(SIGNALS).map((name) => [name, [['signal', 'ay']]])),
};

function argumentsOf({ request, response, fds, outFds, called = 'request' }: MethodRow): MethodSpec {
  const list = (proto: string | undefined, name: string, more: Argument | undefined): readonly Argument[] => [
    ...(proto === undefined ? [] : [[name, 'ay'] as const]),
    ...(more === undefined ? [] : [more]),
  ];
  const spec = { in: list(request, called, fds), out: list(response, 'response', outFds) };
  return fds?.[1] === 'ah' ? { ...spec, accepts: SINGLE_FDS } : spec;
}
