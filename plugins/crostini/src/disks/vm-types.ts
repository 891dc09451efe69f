// Types of VMs as the files of ChromeOS number them.

/** apps.VmType (vm_applications/apps.proto), as far as there are any here. */
export const VM_TYPES = { termina: 0, baguette: 6 } as const;
