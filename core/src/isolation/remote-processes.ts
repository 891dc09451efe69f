// Child processes as a plugin in its own process has them: children of the runtime, known here by number.

import { errors } from '../core-errors.ts';
import type { ExitStatus, ManagedProcess, ProcessState, ProcessSupervisor, SpawnRequest } from '../processes/types.ts';
import type { ProcessInfo, RemoteSpawn } from './messages.ts';
import type { RemoteLink } from './remote-link.ts';

class RemoteProcess implements ManagedProcess {
  readonly plugin: string;
  readonly key: string;
  readonly kind: string;
  readonly detached: boolean;
  readonly data: unknown;
  readonly exited: Promise<ExitStatus>;
  /** Streams do not cross. */
  readonly stdin: undefined;
  readonly stdout: undefined;
  readonly #id: number;
  readonly #link: RemoteLink;

  constructor(link: RemoteLink, plugin: string, info: ProcessInfo) {
    this.#link = link;
    this.#id = info.process;
    this.plugin = plugin;
    this.key = info.key;
    this.kind = info.kind;
    this.detached = info.detached;
    this.data = info.data;
    this.exited = link.call('process.exited', this.#id) as Promise<ExitStatus>;
  }

  get #now(): ProcessInfo {
    return this.#link.callSync('process', this.#id) as ProcessInfo;
  }
  get pid(): number | undefined {
    return this.#now.pid;
  }
  get state(): ProcessState {
    return this.#now.state as ProcessState;
  }
  get restarts(): number {
    return this.#now.restarts;
  }
  get log(): readonly string[] {
    return this.#now.log;
  }

  async ready(): Promise<void> {
    await this.#link.call('process.ready', this.#id);
  }
  kill(signal: NodeJS.Signals): boolean {
    return this.#link.callSync('kill', this.#id, signal) as boolean;
  }
  stop(): Promise<ExitStatus> {
    return this.#link.call('process.stop', this.#id) as Promise<ExitStatus>;
  }
}

export class RemoteProcesses {
  readonly #link: RemoteLink;
  readonly #plugin: string;
  readonly #known: Map<number, RemoteProcess> = new Map();
  /** First rungs of stop ladders, by key. */
  readonly #asks: Map<string, NonNullable<SpawnRequest['ask']>> = new Map();

  constructor(link: RemoteLink, plugin: string) {
    this.#link = link;
    this.#plugin = plugin;
  }

  readonly supervisor: ProcessSupervisor = {
    spawn: async (request) => {
      const { ask } = request;
      const plain = this.#describe(request);
      if (ask !== undefined) this.#asks.set(request.key, ask);
      return this.#adopt((await this.#link.call('spawn', plain)) as ProcessInfo);
    },
    list: () => (this.#link.callSync('processes') as ProcessInfo[]).map((info) => this.#adopt(info)),
  };

  /** The runtime stops the child `key`. */
  async ask(key: string): Promise<void> {
    const child = this.supervisor.list().find((process) => process.key === key);
    if (child !== undefined) await this.#asks.get(key)?.(child);
  }

  #adopt(info: ProcessInfo): RemoteProcess {
    const known = this.#known.get(info.process) ?? new RemoteProcess(this.#link, this.#plugin, info);
    this.#known.set(info.process, known);
    void known.exited.then(
      () => this.#known.delete(info.process),
      () => {},
    );
    return known;
  }

  /** @throws CORE_ERR_HOST_UNSUPPORTED */
  #describe({ fds = [], stdio = 'log', ask, ready, ...plain }: SpawnRequest): RemoteSpawn {
    if (fds.length > 0) throw this.#unsupported('giving descriptors to a child', 'Let the child open them itself');
    if (stdio === 'pipe') throw this.#unsupported('talking to a child over pipes', 'Use a socket');
    const described =
      typeof ready === 'object' ? { line: { source: ready.line.source, flags: ready.line.flags } } : ready;
    return { ...plain, ...(described === undefined ? {} : { ready: described }), asks: ask !== undefined };
  }

  #unsupported(what: string, instead: string): Error {
    const plugin = this.#plugin;
    return errors.CORE_ERR_HOST_UNSUPPORTED({ plugin, details: { plugin, what, instead } });
  }
}
