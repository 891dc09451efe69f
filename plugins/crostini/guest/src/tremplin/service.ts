// vm_tools.tremplin.Tremplin: what the host asks of the containers of a VM. What takes longer than an answer may is begun,
// and told as it goes on.

import type { RpcHandlers } from '../../../src/rpc/rpc.ts';
import type { tremplinTable } from '../../../src/wire/tremplin.ts';
import type { LxdClient, LxdInstance } from '../lxd/client.ts';
import { LxdError } from '../lxd/http.ts';
import type { Log } from '../maitred/log.ts';
import { isUserName } from './accounts.ts';
import type { ContainerNetwork } from './container-network.ts';
import { createContainer, wrongWith } from './create.ts';
import { debugInformation } from './debug.ts';
import type { TellHost } from './host.ts';
import type { LxdServer } from './lxd-server.ts';
import { isContainerName, isTransient } from './names.ts';
import { setUpUser, userOf } from './set-up-user.ts';
import { isToken, needsRemap, osReleaseOf, prepareStart, remap, setPrivilege } from './start.ts';
import { setTimezones } from './timezone.ts';

export interface TremplinParts {
  readonly lxd: LxdServer;
  readonly network: () => ContainerNetwork | undefined;
  readonly tell: TellHost;
  readonly log: Log;
  /** Where the tokens of containers lie. */
  readonly tokens: string;
  readonly milestone: number;
}

type Handlers = RpcHandlers<typeof tremplinTable, 'vm_tools.tremplin.Tremplin'>;

/** Of a start that has not ended, told so often. */
const HEARTBEAT_MS = 30_000;
const REASON_MAX = 1_000;

export function tremplinHandlers(parts: TremplinParts): Handlers {
  return new Tremplin(parts).handlers();
}

class Tremplin {
  readonly #parts: TremplinParts;
  readonly #client: LxdClient;
  /** What goes on with a container: one thing at a time. */
  readonly #busy = new Map<string, string>();

  constructor(parts: TremplinParts) {
    this.#parts = parts;
    this.#client = parts.lxd.client;
  }

  handlers(): Handlers {
    const { lxd, network } = this.#parts;
    return {
      StartLxd: async ({ reset_lxd_db }) => ({ status: lxd.start(reset_lxd_db) }),
      CreateContainer: (request) => this.#create(request),
      DeleteContainer: ({ container_name: name }) => this.#delete(name),
      StartContainer: (request) => this.#start(request),
      StopContainer: ({ container_name: name }) => this.#stop(name),
      GetContainerUsername: ({ container_name: name }) => this.#username(name),
      SetUpUser: ({ container_name: name, container_username: user }) => this.#setUpUser(name, user),
      GetContainerInfo: ({ container_name: name }) => this.#info(name),
      SetTimezone: (request) => setTimezones(this.#client, request),
      ExportContainer: async () => ({ status: 'FAILED', failure_reason: NOT_YET }),
      CancelExportContainer: async () => ({ status: 'OPERATION_NOT_FOUND' }),
      ImportContainer: async () => ({ status: 'FAILED', failure_reason: NOT_YET }),
      CancelImportContainer: async () => ({ status: 'OPERATION_NOT_FOUND' }),
      HostNetworkChanged: async () => {
        network()?.reload();
        return {};
      },
      GetDebugInfo: async () => ({ debug_information: await debugInformation(this.#client) }),
      AttachUsbToContainer: async () => ({ status: 'FAILED', failure_reason: NOT_YET }),
      DetachUsbFromContainer: async () => ({ status: 'FAILED', failure_reason: NOT_YET }),
      UpdateContainerDevices: async () => ({ status: 'FAILED', failure_reason: NOT_YET }),
    };
  }

  async #create(request: Parameters<Handlers['CreateContainer']>[0]) {
    const { container_name: name } = request;
    const wrong = isContainerName(name) ? wrongWith(request) : `${quoted(name)} cannot be the name of a container`;
    if (wrong !== undefined) return failed(wrong);
    return this.#try(async () => {
      const there = await this.#client.instances();
      if (there.some((each) => each.name === name)) return { status: 'EXISTS' as const };
      // They share the name under which they are made.
      const other = [...this.#busy].find(([, what]) => what === 'created');
      if (other !== undefined) return failed(`${other[0]} is being created: one at a time`);
      const tell = (status: 'CREATED' | 'FAILED' | 'DOWNLOAD_TIMED_OUT' | 'DOWNLOADING', more: object = {}): void =>
        this.#parts.tell('UpdateCreateStatus', { container_name: name, status, ...more });
      let told = -1;
      this.#begin(name, 'created', async () => {
        try {
          await createContainer(this.#client, request, {
            milestone: this.#parts.milestone,
            onDownload: (percent) => {
              if (percent > told) tell('DOWNLOADING', { download_progress: percent });
              told = Math.max(told, percent);
            },
          });
          tell('CREATED');
        } catch (e) {
          tell(isTimeout(e) ? 'DOWNLOAD_TIMED_OUT' : 'FAILED', { failure_reason: reasonOf(e) });
        }
      });
      return { status: 'CREATING' as const };
    });
  }

  async #delete(name: string) {
    return this.#try(async () => {
      const instance = await this.#find(name);
      if (instance === undefined) return { status: 'DOES_NOT_EXIST' as const };
      const busy = this.#whyBusy(name);
      if (busy !== undefined) return failed(busy);
      this.#begin(name, 'deleted', async () => {
        const tell = (status: 'DELETED' | 'FAILED', failure_reason = ''): void =>
          this.#parts.tell('UpdateDeletionStatus', { container_name: name, status, failure_reason });
        try {
          if (instance.status !== 'Stopped') await this.#client.changeState(name, 'stop', { force: true });
          await this.#client.remove(name);
          tell('DELETED');
        } catch (e) {
          tell('FAILED', reasonOf(e));
        }
      });
      return { status: 'DELETING' as const };
    });
  }

  async #start(request: Parameters<Handlers['StartContainer']>[0]) {
    const { container_name: name, token, privilege_level: level, disable_audio_capture } = request;
    if (!isToken(token)) return failed('there is no token, or it is none');
    if (typeof level !== 'string') return failed(`there is no privilege level ${level}`);
    return this.#try(async () => {
      const instance = await this.#find(name);
      if (instance === undefined) return failed(`there is no container ${quoted(name)}`);
      if (instance.status === 'Running') {
        await setPrivilege(this.#client, instance, level);
        return { status: 'RUNNING' as const };
      }
      const busy = this.#whyBusy(name);
      if (busy !== undefined) return failed(busy);
      const release = Promise.withResolvers<void>();
      this.#busy.set(name, 'started');
      try {
        const options = { token, privilege: level, disableAudioCapture: disable_audio_capture };
        await prepareStart(this.#client, instance, this.#parts.tokens, options);
        const remapped = needsRemap((await this.#find(name)) ?? instance);
        const os_release = await osReleaseOf(this.#client, name);
        void this.#startNow(name, remapped).finally(release.resolve);
        return { status: remapped ? ('REMAPPING' as const) : ('STARTING' as const), os_release };
      } catch (e) {
        release.resolve();
        throw e;
      } finally {
        void release.promise.then(() => this.#busy.delete(name));
      }
    });
  }

  /** Never throws. */
  async #startNow(name: string, remapped: boolean): Promise<void> {
    const tell = (status: 'STARTING' | 'STARTED' | 'FAILED', failure_reason = ''): void =>
      this.#parts.tell('UpdateStartStatus', { container_name: name, status, failure_reason });
    const heartbeat = setInterval(() => tell('STARTING'), HEARTBEAT_MS);
    try {
      if (remapped) await remap(this.#client, name);
      await this.#client.changeState(name, 'start');
      tell('STARTED');
    } catch (e) {
      tell('FAILED', reasonOf(e));
    } finally {
      clearInterval(heartbeat);
    }
  }

  async #stop(name: string) {
    return this.#try(async () => {
      const instance = await this.#find(name);
      if (instance === undefined) return { status: 'DOES_NOT_EXIST' as const };
      if (instance.status === 'Stopped') return { status: 'STOPPED' as const };
      const busy = this.#whyBusy(name);
      if (busy !== undefined) return failed(busy);
      this.#begin(name, 'stopped', async () => {
        const tell = (status: 'STOPPED' | 'FAILED', failure_reason = ''): void =>
          this.#parts.tell('UpdateStopStatus', { container_name: name, status, failure_reason });
        try {
          await this.#client.changeState(name, 'stop', { force: true });
          tell('STOPPED');
        } catch (e) {
          tell('FAILED', reasonOf(e));
        }
      });
      return { status: 'STOPPING' as const };
    });
  }

  async #username(name: string) {
    return this.#try(async () => {
      const instance = await this.#find(name);
      if (instance === undefined) return { status: 'CONTAINER_NOT_FOUND' as const };
      if (instance.status !== 'Running') return { status: 'CONTAINER_NOT_RUNNING' as const };
      const account = await userOf(this.#client, name);
      if (account === undefined) return { status: 'USER_NOT_FOUND' as const };
      return { status: 'SUCCESS' as const, username: account.name, homedir: account.home };
    });
  }

  async #setUpUser(name: string, user: string) {
    if (!isUserName(user)) return failed(`${quoted(user)} cannot be the name of a user`);
    return this.#try(async () => {
      if ((await this.#find(name)) === undefined) return failed(`there is no container ${quoted(name)}`);
      const busy = this.#whyBusy(name);
      if (busy !== undefined) return failed(busy);
      this.#busy.set(name, 'given its user');
      try {
        const { name: username } = await setUpUser(this.#client, name, user);
        return { status: 'SUCCESS' as const, username };
      } finally {
        this.#busy.delete(name);
      }
    });
  }

  async #info(name: string) {
    return this.#try(async () => {
      const instance = await this.#find(name);
      if (instance === undefined) return { status: 'NOT_FOUND' as const };
      if (instance.status !== 'Running') return { status: 'STOPPED' as const };
      const address = await this.#client.addressOf(name);
      return { status: 'RUNNING' as const, ipv4_address: address === undefined ? 0 : inAddr(address) };
    });
  }

  async #find(name: string): Promise<LxdInstance | undefined> {
    return isTransient(name) || !isContainerName(name) ? undefined : this.#client.instance(name);
  }

  #whyBusy(name: string): string | undefined {
    const what = this.#busy.get(name);
    return what === undefined ? undefined : `${name} is being ${what}`;
  }

  /** @param work never throws */
  #begin(name: string, what: string, work: () => Promise<void>): void {
    this.#busy.set(name, what);
    void work().finally(() => this.#busy.delete(name));
  }

  async #try<T extends object>(fn: () => Promise<T>): Promise<T | ReturnType<typeof failed>> {
    if (!this.#parts.lxd.isRunning) return failed('LXD does not run: StartLxd starts it');
    try {
      return await fn();
    } catch (e) {
      this.#parts.log('warning', reasonOf(e));
      return failed(reasonOf(e));
    }
  }
}

const NOT_YET = 'tremplin cannot do this yet';

function failed(reason: string): { readonly status: 'FAILED'; readonly failure_reason: string } {
  return { status: 'FAILED', failure_reason: reason.slice(0, REASON_MAX) };
}

function reasonOf(e: unknown): string {
  return (e instanceof Error ? e.message : String(e)).slice(0, REASON_MAX);
}

function isTimeout(e: unknown): boolean {
  return e instanceof LxdError && /timeout|deadline exceeded/i.test(e.message);
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 100));
}

/** As in_addr lies in memory, read as little-endian. */
function inAddr(address: string): number {
  return address.split('.').reduceRight((all, byte) => all * 256 + Number(byte), 0) >>> 0;
}
