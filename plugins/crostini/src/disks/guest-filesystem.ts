// The file system on the disk of a VM that runs. Whoever speaks with maitred offers it.

/** ResizeFilesystem, GetResizeStatus and GetResizeBounds of maitred (vm_guest.proto). Sizes are bytes. */
export interface GuestFilesystem {
  /** Begins; when the disk is to become larger, it already is. @throws when it cannot */
  resize(bytes: number): Promise<void>;
  status(): Promise<{ readonly inProgress: boolean; readonly currentBytes: number; readonly targetBytes: number }>;
  bounds(): Promise<{ readonly minBytes: number }>;
}

/** The disk of a VM that runs. */
export interface RunningDisk {
  /** What the vmm plugin calls the VM and the device. */
  readonly machine: string;
  readonly device: string;
  readonly filesystem: GuestFilesystem;
}
