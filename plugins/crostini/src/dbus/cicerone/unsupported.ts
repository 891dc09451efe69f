// What makes no sense here, or not yet, and why: each is answered with org.freedesktop.DBus.Error.NotSupported.

import type { MethodName } from './methods.ts';

const NO_APPS = 'applications of containers are not known yet';
const NO_BACKUP = 'containers cannot be exported or imported yet';
const NO_DEVICES = 'devices cannot be given to containers yet';
const NO_UPGRADE = 'containers cannot be upgraded yet';
const ONE_PROGRAM = 'concierge and cicerone are one program here, which knows when VMs start and stop';
const NO_SESSIONS = 'a shell of a container is opened by the runtime itself: runtime vsh --target_container NAME';

export const UNSUPPORTED = {
  AddFileWatch: 'files of containers cannot be watched yet',
  ApplyAnsiblePlaybook: 'playbooks cannot be applied yet',
  AttachUsbToContainer: NO_DEVICES,
  CancelExportLxdContainer: NO_BACKUP,
  CancelImportLxdContainer: NO_BACKUP,
  CancelUpgradeContainer: NO_UPGRADE,
  ConfigureForArcSideload: 'there is no Android on this side to be debugged',
  ConnectChunnel: 'ports of containers are not forwarded yet',
  DetachUsbFromContainer: NO_DEVICES,
  ExportLxdContainer: NO_BACKUP,
  FileSelected: 'there is no dialog of the host that a container could have asked for',
  GetContainerAppIcon: NO_APPS,
  GetGarconSessionInfo: 'what it would tell is in ContainerStarted and ListRunningContainers',
  GetLinuxPackageInfo: NO_APPS,
  GetVshSession: NO_SESSIONS,
  ImportLxdContainer: NO_BACKUP,
  InstallLinuxPackage: NO_APPS,
  LaunchContainerApplication: NO_APPS,
  LaunchVshd: NO_SESSIONS,
  NotifyVmStarted: ONE_PROGRAM,
  NotifyVmStopped: ONE_PROGRAM,
  NotifyVmStopping: ONE_PROGRAM,
  RegisterVshSession: NO_SESSIONS,
  RemoveFileWatch: 'files of containers cannot be watched yet',
  SetTimezone: 'VMs and their containers have the zone of this computer',
  UninstallPackageOwningFile: NO_APPS,
  UpdateContainerDevices: NO_DEVICES,
  UpgradeContainer: NO_UPGRADE,
} as const satisfies Partial<Readonly<Record<MethodName, string>>>;
export type UnsupportedName = keyof typeof UNSUPPORTED;
