// What other plugins may use of this one: tokens and types, no behaviour. Names are those of ChromeOS' concierge.

import { defineService, type ServiceToken } from '@runtime/sdk';

// Virtual machines

/** VmStatus of concierge. `starting`: the guest has not called yet; `running`: its maitred answers. */
export const TERMINA_STATES = ['starting', 'running', 'stopping', 'stopped', 'failure'] as const;
export type TerminaState = (typeof TERMINA_STATES)[number];

/** VmInfo.VmType of concierge, as far as there are any here. */
export type TerminaType = 'termina' | 'baguette';

/** Of an image: `full` has what containers need; `fast` only what runs commands. */
export type ImageProfile = 'full' | 'fast';

/** VmStopReason of concierge. */
export type StopReason =
  | 'VM_EXITED'
  | 'STOP_VM_REQUESTED'
  | 'STOP_ALL_VMS_REQUESTED'
  | 'DESTROY_DISK_IMAGE_REQUESTED'
  | 'SERVICE_SHUTDOWN';

/** A VM of one owner. */
export interface TerminaVm {
  /** As its owner calls it, 1 to 60 bytes. */
  readonly name: string;
  /** Hexadecimal. */
  readonly owner: string;
  /** What the vmm plugin calls it. */
  readonly machine: string;
  readonly state: TerminaState;
  readonly type: TerminaType;
  readonly profile: ImageProfile;
  /** Id of its image. */
  readonly image: string;
  readonly cid: number;
  readonly pid: number | undefined;
  /** Dotted; undefined when it has no network of its own. */
  readonly ipv4: string | undefined;
  readonly memoryMib: number;
  readonly cpus: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Its CPUs stand still, until it is resumed. */
  readonly suspended?: true;
}

/** A file, or a block device, that a guest sees as a raw disk. */
export interface ExtraDisk {
  /** Absolute. */
  readonly path: string;
  readonly readOnly: boolean;
}

/** A port of this computer that leads to one of the guest. */
export interface LedPort {
  readonly protocol: 'tcp' | 'udp';
  /** IPv4 address of this computer, dotted; 0.0.0.0: all. */
  readonly address: string;
  /** 1 to 65,535, as is that of the guest. */
  readonly hostPort: number;
  readonly guestPort: number;
}

/** Paths. */
export interface BootFiles {
  /** bzImage, or an ELF file that is entered directly. */
  readonly kernel?: string;
  readonly initrd?: string;
  /** A raw image of what the initial file system mounts; it is read only, and not checked while it is read. */
  readonly rootfs?: string;
}

export interface StartTermina {
  readonly name: string;
  /** Hexadecimal; default: stands for the user of the runtime. */
  readonly owner?: string;
  /** Default `full`. */
  readonly profile?: ImageProfile;
  readonly cpus?: number;
  readonly memoryMib?: number;
  /** Of its stateful disk, when it has none yet; default: as the configuration says. Ignored by `fast`. */
  readonly diskBytes?: number;
  /** More parameters of the kernel. */
  readonly kernelParams?: readonly string[];
  /** In the place of what the image has. */
  readonly files?: BootFiles;
  /** Behind its own, in this order: /dev/vdc, … of a full image, /dev/vdb, … of a fast one. */
  readonly disks?: readonly ExtraDisk[];
  /** Only passt leads them. */
  readonly ports?: readonly LedPort[];
  /** From the start of the machine until maitred answers; default 60,000 (more without KVM). */
  readonly timeoutMs?: number;
}

export interface SyncedTimes {
  /** Guests that were told the time. */
  readonly asked: number;
  /** For each that did not take it, why. */
  readonly failures: readonly string[];
}

/** Where the ports of a guest can be called. */
export interface GuestEndpoint {
  readonly cid: number;
  /** Of the vmm plugin: `vsock.sock` and its relatives lie there (docs/guides/run-a-vm.md, "Sockets"). */
  readonly directory: string;
}

/**
 * Starts VMs, shakes hands with them, and ends them. Names of VMs are those of their owner; an owner that is left out is the
 * user of the runtime.
 */
export interface Concierge {
  /**
   * Resolves when maitred answers and has been told all that it needs. One that runs already is returned as it is.
   * @throws CROSTINI_ERR_…
   */
  startVm(request: StartTermina): Promise<TerminaVm>;
  /** The stop ladder: maitred, the machine, SIGKILL. One that does not run is no error. */
  stopVm(name: string, options?: { readonly owner?: string; readonly reason?: StopReason }): Promise<void>;
  stopAllVms(): Promise<void>;
  listVms(options?: { readonly owner?: string }): Promise<readonly TerminaVm[]>;
  /** @throws CROSTINI_ERR_VM_NOT_FOUND */
  getVm(name: string, options?: { readonly owner?: string }): Promise<TerminaVm>;
  /** @throws CROSTINI_ERR_VM_NOT_FOUND, CROSTINI_ERR_VM_STATE */
  endpoint(name: string, options?: { readonly owner?: string }): Promise<GuestEndpoint>;
  /** What is written lies on its disks then. One that is suspended already is no error. */
  suspendVm(name: string, options?: { readonly owner?: string }): Promise<void>;
  /** Its clock is set. One that is not suspended is no error. */
  resumeVm(name: string, options?: { readonly owner?: string }): Promise<void>;
  /** Sets the clocks of all that run. */
  syncVmTimes(): Promise<SyncedTimes>;
}

/** Termina VMs: what `runtime start`, the D-Bus and other plugins start, look at and end them by. */
export const concierge: ServiceToken<Concierge> = defineService<Concierge>('concierge', { version: '1.0.0' });

// Events

declare module '@runtime/core' {
  interface EventMap {
    /** VmStartingUpSignal: its machine is about to start. */
    'termina:starting': { readonly vm: string; readonly owner: string; readonly cid: number };
    /** VmStartedSignal: maitred has answered. */
    'termina:started': { readonly vm: string; readonly owner: string; readonly cid: number };
    /** VmStoppingSignal */
    'termina:stopping': { readonly vm: string; readonly owner: string; readonly cid: number };
    /** VmStoppedSignal */
    'termina:stopped': {
      readonly vm: string;
      readonly owner: string;
      readonly cid: number;
      readonly reason: StopReason;
    };
    /** The memory of a VM changes: the guest gives it back, or gets it, in its own time. */
    'termina:balloon': {
      readonly vm: string;
      readonly owner: string;
      /** What it is to have, MiB. */
      readonly targetMib: number;
      /** What it has now. */
      readonly actualMib: number;
      readonly why: 'host-short' | 'host-has-room' | 'guest-short';
    };
    /** A program of the guest has crashed, or has ended and is to run always. What is told is the guest's word. */
    'termina:crash': {
      readonly vm: string;
      readonly owner: string;
      /** Its name, which can be shown as it is; at most 64 characters. */
      readonly process: string;
      readonly why: string;
    };
  }
}
