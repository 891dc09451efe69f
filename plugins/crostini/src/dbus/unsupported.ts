// What makes no sense here, or not yet, and why: each is answered with org.freedesktop.DBus.Error.NotSupported.

const NO_ARC = 'Android runs as a plugin of its own here, not through concierge';
const NO_PLUGIN_VM = 'Parallels belongs to ChromeOS, and is not there';
const NO_USB = 'USB devices cannot be given to VMs yet';
const OWN_BALLOON = 'the memory of VMs follows that of the host by itself: settings.crostini.config.balloon';
const NO_GPU = 'VMs have no GPU yet, and nothing is kept for one';
const NO_BAGUETTE = 'there are no Baguette VMs yet';
const NO_FIRMWARE = 'VMs boot their kernel at once: there is no firmware that would have a flash';
const NETWORK = 'each VM has the network that its description gives it: runtime vm plug net';

export const UNSUPPORTED = {
  AddGroupPermissionMesa: NO_GPU,
  AdjustVm: 'it is for the VMs of ChromeOS that have such operations',
  AggressiveBalloon: OWN_BALLOON,
  ArcVmCompleteBoot: NO_ARC,
  AttachKey: NO_USB,
  AttachNetDevice: NETWORK,
  AttachUsbDevice: NO_USB,
  DetachNetDevice: NETWORK,
  DetachUsbDevice: NO_USB,
  GetBaguetteImageUrl: NO_BAGUETTE,
  GetVmEnterpriseReportingInfo: 'nothing is reported to an enterprise from here',
  GetVmGpuCachePath: NO_GPU,
  GetVmMemoryManagementKillsConnection: 'there is no Chrome whose tabs could be discarded for the memory of VMs',
  InstallPflash: NO_FIRMWARE,
  ModifyFakePowerConfig: NO_ARC,
  MuteVmAudio: 'VMs have no sound yet',
  ReclaimVmMemory: OWN_BALLOON,
  SetBalloonTimer: OWN_BALLOON,
  SetUpVmUser: NO_BAGUETTE,
  SetVmCpuRestriction: 'the share of a VM in the CPUs is that of its systemd scope: systemctl set-property',
  StartArcVm: NO_ARC,
  StartPluginVm: NO_PLUGIN_VM,
  SwapVm: NO_ARC,
} as const;
export type UnsupportedName = keyof typeof UNSUPPORTED;
