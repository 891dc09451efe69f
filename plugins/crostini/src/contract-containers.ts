// Containers in Termina VMs, as other plugins may use them: tokens and types, no behaviour. Names are those of ChromeOS'
// cicerone.

import { defineService, type ServiceToken } from '@runtime/sdk';

/** `starting`: its garcon has not called yet. */
export type ContainerState = 'starting' | 'running' | 'stopping' | 'stopped';

/** One that its VM knows. */
export interface Container {
  readonly name: string;
  /** Of its VM. */
  readonly vm: string;
  /** Hexadecimal, of its VM. */
  readonly owner: string;
  readonly state: ContainerState;
  /** While it runs. */
  readonly username: string | undefined;
  readonly homedir: string | undefined;
  /** Dotted. */
  readonly ipv4: string | undefined;
}

/** Which container. */
export interface ContainerName {
  readonly vm: string;
  readonly container: string;
  /** Hexadecimal; default: stands for the user of the runtime. */
  readonly owner?: string;
}

/** What a container is made of. */
export type ContainerImage =
  /** Of a simplestreams server. */
  | { readonly server: string; readonly alias: string }
  /** Files in the VM. */
  | { readonly rootfs: string; readonly metadata: string };

export interface ContainerWishes {
  readonly signal?: AbortSignal;
  readonly onStage?: (stage: string, fraction?: number) => void;
}

/**
 * Looks after the containers of VMs that run. A container is known by the CID of its VM and by a token that only it was
 * given.
 */
export interface Containers {
  /** Resolves when the containers of that VM can be asked for. @throws CROSTINI_ERR_… */
  startLxd(vm: string, options?: { readonly owner?: string } & ContainerWishes): Promise<void>;
  /** @returns false when there was one. @throws CROSTINI_ERR_CONTAINER… */
  createContainer(name: ContainerName, image: ContainerImage, wishes?: ContainerWishes): Promise<boolean>;
  /** @returns how the user is called there: who has number 1000 already keeps that name. @throws CROSTINI_ERR_CONTAINER… */
  setUpContainerUser(name: ContainerName, user: string): Promise<string>;
  /** Resolves when its garcon has called. One that runs is returned as it is. @throws CROSTINI_ERR_CONTAINER… */
  startContainer(name: ContainerName, wishes?: ContainerWishes): Promise<Container>;
  /** One that does not run is no error. @throws CROSTINI_ERR_CONTAINER… */
  stopContainer(name: ContainerName): Promise<void>;
  /** @returns false when there was none. @throws CROSTINI_ERR_CONTAINER… */
  deleteContainer(name: ContainerName): Promise<boolean>;
  /** Those that start or run. */
  listContainers(options?: { readonly owner?: string }): Promise<readonly Container[]>;
}

/** Containers of Termina VMs: how they are made, started, stopped and opened a shell in. */
export const containers: ServiceToken<Containers> = defineService<Containers>('containers', { version: '1.0.0' });

declare module '@runtime/core' {
  interface EventMap {
    /** TremplinStartedSignal: it has called. */
    'container:tremplin': { readonly vm: string; readonly owner: string };
    /** ContainerStartedSignal: its garcon has called. */
    'container:started': { readonly vm: string; readonly owner: string; readonly container: string };
    /** ContainerShutdownSignal */
    'container:stopped': { readonly vm: string; readonly owner: string; readonly container: string };
  }
}
