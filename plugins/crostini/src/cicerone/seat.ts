// What is known of the containers of one VM.

import type { VmKey } from '../concierge/names.ts';
import type { Container, ContainerState } from '../contract-containers.ts';
import type { RpcClient } from '../rpc/rpc.ts';
import type { containersWire } from '../wire/index.ts';
import type { ContainerNews } from './listeners.ts';

export type TremplinClient = RpcClient<typeof containersWire.table, 'vm_tools.tremplin.Tremplin'>;

export interface KnownContainer {
  readonly name: string;
  readonly token: string;
  state: ContainerState;
  garconPort: number;
  username: string | undefined;
  homedir: string | undefined;
  ipv4: string | undefined;
  /** Its garcon has called. */
  readonly ready: PromiseWithResolvers<void>;
}

export interface LxdState {
  readonly status: 'stopped' | 'starting' | 'running' | 'failed';
  readonly reason: string;
}

export class VmSeat {
  readonly key: VmKey;
  readonly machine: string;
  readonly socketPath: (port: number) => string;
  readonly containers: Map<string, KnownContainer> = new Map();
  /** Tremplin has called. */
  readonly tremplinReady: PromiseWithResolvers<void> = Promise.withResolvers();
  /** The VM is nobody's any more. */
  readonly gone: PromiseWithResolvers<never> = Promise.withResolvers();
  readonly #listeners: Set<(news: ContainerNews) => void> = new Set();
  readonly #lxdListeners: Set<(state: LxdState) => void> = new Set();
  #lxd: LxdState = { status: 'stopped', reason: '' };
  client: TremplinClient | undefined;
  /** Ports of the host that shells are waited for on, and the sockets behind them. */
  readonly ports: Map<number, string> = new Map();

  constructor(key: VmKey, machine: string, socketPath: (port: number) => string) {
    this.key = key;
    this.machine = machine;
    this.socketPath = socketPath;
    this.gone.promise.catch(() => {});
  }

  get lxd(): LxdState {
    return this.#lxd;
  }

  set lxd(state: LxdState) {
    this.#lxd = state;
    for (const listener of this.#lxdListeners) listener(state);
  }

  tell(news: ContainerNews): void {
    for (const listener of this.#listeners) listener(news);
  }

  /** What tremplin tells of some work with a container, until that is disposed of. */
  follow(listener: (news: ContainerNews) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  followLxd(listener: (state: LxdState) => void): Disposable {
    this.#lxdListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#lxdListeners.delete(listener) };
  }

  byToken(token: string): KnownContainer | undefined {
    return this.containers.values().find((one) => one.token === token);
  }

  info({ name, state, username, homedir, ipv4 }: KnownContainer): Container {
    return { name, vm: this.key.name, owner: this.key.owner, state, username, homedir, ipv4 };
  }
}
