// One VM, from the wish to have it until everything of it is given back.

import type { ImageProfile, StopReason, TerminaState, TerminaVm } from '../contract.ts';
import { errors } from '../errors.ts';
import type { LogWatch } from './log-keeper.ts';
import type { MaitredClient } from './maitred.ts';
import type { VmKey } from './names.ts';
import type { GuestNetwork } from './network.ts';
import { mayMove } from './states.ts';

export interface StartWatcher {
  readonly onStage: ((stage: string, fraction?: number) => void) | undefined;
}

export class TerminaEntry {
  readonly key: VmKey;
  readonly machine: string;
  readonly profile: ImageProfile;
  readonly startedAt: string;
  /** What is undone at the end, last first. */
  readonly cleanup: AsyncDisposableStack = new AsyncDisposableStack();
  /** Ends a start that nobody waits for any more. */
  readonly abort: AbortController = new AbortController();
  /** Everything is given back. */
  readonly gone: PromiseWithResolvers<void> = Promise.withResolvers();
  /** The machine has ended, and this is why. */
  readonly machineEnded: PromiseWithResolvers<string> = Promise.withResolvers();
  /** The guest has called. */
  readonly ready: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Those who wait for the start. */
  readonly watchers: Set<StartWatcher> = new Set();
  state: TerminaState = 'starting';
  /** While `starting`. */
  start: Promise<TerminaVm> | undefined;
  stop: Promise<void> | undefined;
  stopReason: StopReason = 'VM_EXITED';
  image = '';
  cid = 0;
  pid: number | undefined;
  memoryMib = 0;
  cpus = 0;
  /** First address of its network, as a number. */
  subnet = 0;
  network: GuestNetwork | undefined;
  /** Of its port 7777 of the host. */
  listener: Disposable | undefined;
  /** Of its containers. */
  containers: Disposable | undefined;
  /** Of what it logs. */
  watch: LogWatch | undefined;
  /** Its machine has. */
  ended = false;
  /** Its machine goes on from a snapshot, and may yet have to boot instead; aborted when that machine ends. */
  restoring: AbortController | undefined;
  /** Its CPUs stand still. */
  suspended = false;
  directory = '';
  client: MaitredClient | undefined;
  /** `termina:starting` was told. */
  announced = false;

  constructor(key: VmKey, machine: string, profile: ImageProfile, startedAt: string) {
    this.key = key;
    this.machine = machine;
    this.profile = profile;
    this.startedAt = startedAt;
  }

  get live(): boolean {
    return this.state === 'starting' || this.state === 'running' || this.state === 'stopping';
  }

  move(to: TerminaState): void {
    if (!mayMove(this.state, to)) throw new Error(`VM ${this.key.name} cannot get from ${this.state} to ${to}`);
    this.state = to;
  }

  /** @throws CROSTINI_ERR_VM_STATE */
  expectRunning(verb: string): void {
    if (this.state === 'running') return;
    throw errors.CROSTINI_ERR_VM_STATE({ details: { vm: this.key.name, state: this.state, verb } });
  }

  stage(text: string, fraction?: number): void {
    for (const { onStage } of this.watchers) onStage?.(text, fraction);
  }

  info(): TerminaVm {
    const { key, machine, state, profile, image, cid, pid, memoryMib, cpus, startedAt } = this;
    const ipv4 = this.network?.address;
    const suspended = this.suspended ? { suspended: true as const } : {};
    return {
      ...suspended,
      ...key,
      machine,
      state,
      type: 'termina',
      profile,
      image,
      cid,
      pid,
      ipv4,
      memoryMib,
      cpus,
      startedAt,
    };
  }
}
