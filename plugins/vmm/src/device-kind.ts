// A kind of device has two halves: the definition that runs in the device process, and the runtime's half, which opens
// what that process works with and answers its requests. The process itself opens nothing.

import type { DeviceOffer, Logger, ManagedProcess, SpawnRequest } from '@runtime/sdk';
import type { DevicePlan } from './device-plan.ts';

export interface HostRequest {
  readonly vm: { readonly name: string; readonly directory: string };
  /** Of the device in its VM: `block0`. */
  readonly id: string;
  /** As the description has them. */
  readonly options: unknown;
  /** What relative paths of a user are relative to. */
  readonly cwd: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Who on the host answers when the guest calls a vsock port, if a plugin knows. */
  findListener?(port: number): Promise<{ readonly path: string } | undefined>;
  /** Starts a helper process of this device (passt, …); it ends with the device. */
  spawn(request: Omit<SpawnRequest, 'key' | 'detached'> & { readonly name: string }): Promise<ManagedProcess>;
}

/** What the runtime holds for a device as long as it runs. */
export interface HostHalf {
  /** For the definition's own schema. */
  readonly options: unknown;
  /** Name → descriptor, close-on-exec. They stay open here, so that a process that died can be given them again. */
  readonly fds: Readonly<Record<string, number>>;
  /** That serve its queues, for devices whose definition allows more than the one that is the default. */
  readonly threads?: number;
  /** A request of the device process (`device.request`). Descriptors of the answer are closed here after it was sent. */
  handle?(
    method: string,
    params: unknown,
    fds: readonly number[],
  ): Promise<{ readonly value: unknown; readonly fds?: readonly number[] }>;
  /** A request of a user before it reaches the process: `resize` looks at the file, … Answers the parameters to send. */
  prepare?(method: string, params: unknown): Promise<unknown>;
  /** Closes descriptors and removes what was made. */
  close(): Promise<void>;
}

export interface DeviceKind extends DeviceOffer {
  /** Its module and all that it imports may be compiled into one file, away from their places; see CompiledHosts. */
  readonly compilable?: boolean;
  /** What its process may touch; left out: nothing beyond what every device process does. */
  readonly plan?: DevicePlan;
  /** Left out: options go to the definition as they are, and there are no descriptors. */
  open?(request: HostRequest): Promise<HostHalf>;
  /** As `open`, for a device process that outlived the runtime: with the descriptors that it holds. */
  adopt?(request: HostRequest, fds: Readonly<Record<string, number>>): Promise<HostHalf>;
}
