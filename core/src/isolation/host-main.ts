// The program of a process that runs one plugin. Started by the runtime and of no use without it.

import { Socket } from 'node:net';
import type { RuntimeEvent } from '../events.ts';
import { createLoader } from '../loader/production-loader.ts';
import type { FoundPlugin } from '../loader/types.ts';
import type { AnyPlugin } from '../plugin.ts';
import { describePlugin } from './description.ts';
import { MESSAGE_FD } from './limits.ts';
import { PHASES, type Phase, type StartMessage } from './messages.ts';
import { checkRemoteConfig, receiveState } from './remote-checks.ts';
import type { RemoteInvocation } from './remote-commands.ts';
import { RemoteLink } from './remote-link.ts';
import { RemotePlugin } from './remote-plugin.ts';

/** Where the code is, and whose packages it is to share. */
interface Source {
  readonly found: FoundPlugin;
  readonly own: Readonly<Record<string, string>>;
}

let plugin: RemotePlugin | undefined;

async function load({ found, own }: Source): Promise<AnyPlugin> {
  return (await createLoader({ own }).load(found)).definition;
}

async function setup(start: StartMessage): Promise<unknown> {
  const definition = await load(start);
  const created = new RemotePlugin(definition, start, link);
  // At once: what the setup registers may be called before it ends.
  plugin = created;
  return created.setup(start);
}

function running(): RemotePlugin {
  if (plugin === undefined) throw new Error('the plugin is not set up');
  return plugin;
}

/** The runtime is trusted; what it sends has the form that the other end of this protocol gives it. */
type Answer = (args: never, signal: AbortSignal) => unknown;
const answers: Readonly<Record<string, Answer>> = {
  describe: async ([source]: [Source]) => describePlugin(await load(source)),
  checkConfig: async ([source, config]: [Source, unknown]) => checkRemoteConfig(await load(source), config),
  receiveState: async ([source, state, schema]: [Source, unknown, number]) =>
    receiveState(await load(source), state, schema),
  setup: ([start]: [StartMessage]) => setup(start),
  service: ([id, method, caller, args]: [string, string, string | undefined, unknown[]]) =>
    running().service(id, method, caller, args),
  tap: ([key, args]: [string, unknown[]]) => running().tap(key, args),
  command: ([key, id, invocation]: [string, number, RemoteInvocation], signal) =>
    running().command(key, id, invocation, signal),
  check: ([key]: [string]) => running().check(key),
  ask: ([key]: [string]) => running().ask(key),
  dispose: ([reason]: [unknown]) => running().phase('dispose', reason),
};

const tells: Readonly<Record<string, (args: never) => void>> = {
  ping: ([tracing]: [boolean]) => {
    if (plugin !== undefined) plugin.tracing = tracing;
    link.tell('pong');
  },
  event: ([key, event]: [string, RuntimeEvent]) => plugin?.deliver(key, event),
  exit: () => process.exit(0),
};

const socket = new Socket({ fd: MESSAGE_FD, readable: true, writable: true });
const link = new RemoteLink(socket, {
  call(method, args, _context, signal) {
    if (method !== 'dispose' && PHASES.includes(method as Phase)) return running().phase(method as Phase, signal);
    const answer = answers[method];
    if (answer === undefined) throw new Error(`the runtime asks for "${method}", which is unknown here`);
    return answer(args as never, signal);
  },
  tell: (method, args) => tells[method]?.(args as never),
});

// Without the runtime there is nothing to do.
socket.on('error', () => process.exit(0));
socket.on('close', () => process.exit(0));
socket.on('data', (chunk) => link.receive(chunk));
