// For the tests of the control socket only: a runtime without plugins, made of the real events, tracer and commands.

import { systemClock } from '../clock.ts';
import { CommandHub } from '../commands.ts';
import { errors } from '../core-errors.ts';
import { EventHub } from '../events.ts';
import { createLogger, type Logger } from '../logging.ts';
import type { PluginReport, Runtime, RuntimeReport } from '../runtime-types.ts';
import { Scope } from '../scope.ts';
import { Tracer } from '../tracing.ts';
import type { ControlHost } from './host.ts';

const PLUGIN: PluginReport = {
  name: 'hello',
  version: '1.2.3',
  state: 'ready',
  isolation: 'in-process',
  origin: 'given',
  directory: undefined,
  requires: [{ service: 'clock', range: '^1.0.0', optional: true, provider: undefined }],
  provides: [{ service: 'greeter', version: '1.0.0', active: true }],
  setupMs: 1.5,
  readyMs: undefined,
  reloads: 0,
  holds: ['listener x'],
  busy: [],
  error: undefined,
};

export const silentLog: Logger = createLogger({ level: 'silent' });

export interface FakeRuntime extends Runtime {
  /** Names given to reload(), remove() and add(), in order. */
  readonly asked: string[];
  /** Listeners that are registered now. */
  listenersOf(topic: string): number;
}

export function createFakeRuntime(): FakeRuntime {
  const tracer = new Tracer('fake');
  const hub = new EventHub({ tracer, clock: systemClock, log: silentLog });
  const scope = new Scope('runtime');
  const commands = new CommandHub();
  const own = commands.view(scope);
  const asked: string[] = [];
  const unused = (what: string) => (): never => {
    throw new Error(`the fake runtime has no ${what}`);
  };
  const report: RuntimeReport = {
    instance: 'fake',
    state: 'running',
    startMs: 12.5,
    waves: [['hello']],
    plugins: [PLUGIN],
    services: [],
    hooks: [],
    events: [],
    leases: [{ pool: 'cid', key: 'vm', owner: 'hello', state: 'held', value: 2n ** 40n }],
    keepers: [],
    processes: [],
  };
  return {
    asked,
    listenersOf: (topic) =>
      Object.values(hub.report().find((t) => t.topic === topic)?.listeners ?? {}).reduce((a, b) => a + b, 0),
    instance: 'fake',
    state: 'running',
    events: hub.view(scope),
    tracer,
    log: silentLog,
    commands: {
      list: () => commands.list(),
      add: (spec, handler) => own.add(spec, handler),
      async run(name, invocation) {
        const command = commands.find(name);
        if (command === undefined) {
          throw errors.CORE_ERR_COMMAND_UNKNOWN({ details: { command: name, nearest: '' } });
        }
        return (await command.handler(invocation)) ?? 0;
      },
    },
    async add(found) {
      asked.push(`add ${'manifest' in found ? found.manifest.plugin : found.name}`);
    },
    async remove(name) {
      asked.push(`remove ${name}`);
    },
    async reload(plugin) {
      asked.push(`reload ${plugin}`);
      return { plugin, restarted: [], outcome: 'kept-old', ms: 1, error: new Error('a syntax error') };
    },
    inspect: () => report,
    pending: () => ['hello (ready): listener x'],
    doctor: async () => [{ name: 'kvm', plugin: 'hello', status: 'fail', found: 'none', remedy: 'modprobe kvm' }],
    pluginState: () => 'ready',
    hooks: { tap: unused('hooks'), call: unused('hooks') },
    use: unused('use()'),
    start: unused('start()'),
    stop: unused('stop()'),
    get: unused('services'),
    [Symbol.asyncDispose]: () => scope.close(),
  };
}

export interface FakeControlHost extends ControlHost {
  stopRequested: string | undefined;
}

export function createFakeHost(): FakeControlHost {
  return {
    stopRequested: undefined,
    recorder: undefined,
    async find(spec) {
      const manifest = {
        plugin: spec,
        package: spec,
        version: '1.0.0',
        description: '',
        core: '*',
        provides: {},
        requires: {},
        commands: [],
      };
      return { manifest, directory: '/nowhere', entry: '/nowhere/index.ts', origin: 'path', builtIn: false };
    },
    settings: () => ({}),
    requestStop(reason) {
      this.stopRequested = reason;
    },
  };
}
