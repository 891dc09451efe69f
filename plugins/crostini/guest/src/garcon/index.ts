// garcon: what runs in a container for its user, and answers the host. It is started by the user's service manager.

import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLinuxError, VSOCK } from '@runtime/sdk/linux';
import { Protobuf } from '@runtime/sdk/protobuf';
import { callUnary } from '../../../src/rpc/unary.ts';
import { containerGuestTable } from '../../../src/wire/container-guest.ts';
import { containerHostTable } from '../../../src/wire/container-host.ts';
import type { Dial } from '../maitred/host.ts';
import { RpcServer } from '../rpc/server.ts';
import { connectVsockStream, listenVsockStreams, type OnVsockConnection } from '../vsock/index.ts';
import { garconHandlers } from './service.ts';

const CONTAINER_LISTENER_PORT = 8889;
/** All containers of a VM have its CID, so that each needs a port of its own. */
const PORTS = { first: 10_000, last: 19_999 } as const;
const TOKEN_FILE = '/dev/.container_token';
const TOKEN_MAX = 256;
const TOKEN_WAIT_MS = 60_000;
const TOKEN_POLL_MS = 100;
const DEADLINE_MS = 10_000;
const RETRY_MS = { first: 100, last: 5_000 } as const;
/** ChromeOS runs it for this user alone. */
const USER_UID = 1000;
const CONNECTIONS_MAX = 64;

const hostWire = new Protobuf({
  ...containerHostTable,
  messages: { 'vm_tools.EmptyMessage': {}, ...containerHostTable.messages },
});
const SERVICE = 'vm_tools.container.ContainerListener';

/** Usage: garcon --server [--allow_any_user] */
export function garconMain(args: readonly string[]): void {
  process.title = 'garcon';
  const log = (line: string): void => void process.stderr.write(`${line}\n`);
  if (!args.includes('--server')) {
    log('usage: garcon --server [--allow_any_user]');
    process.exitCode = 2;
    return;
  }
  if (process.getuid?.() !== USER_UID && !args.includes('--allow_any_user')) {
    log(`garcon runs for the user with number ${USER_UID}, not for ${process.getuid?.()}`);
    process.exitCode = 1;
    return;
  }
  process.on('uncaughtException', (e) => log(e.stack ?? e.message));
  process.on('unhandledRejection', (e) => log(String(e)));
  serve(log).catch((e: Error) => {
    log(`garcon cannot run: ${e.message}`);
    process.exit(1);
  });
}

async function serve(log: (line: string) => void): Promise<void> {
  const token = await readToken();
  const dial: Dial = (port, signal) => connectVsockStream({ cid: VSOCK.host, port }, { signal });
  const server = new RpcServer((e) => log(String(e)));
  server.add(new Protobuf(containerGuestTable), 'vm_tools.container.Garcon', garconHandlers({ dial, log }));
  let connections = 0;
  const port = listenOnFirstFree((stream, { cid }) => {
    if (cid !== VSOCK.host || connections >= CONNECTIONS_MAX) {
      log(`CID ${cid} was refused`);
      stream.on('error', () => {}).destroy();
      return;
    }
    connections += 1;
    stream.on('close', () => {
      connections -= 1;
    });
    server.accept(stream);
  });
  log(`serving on port ${port}`);
  await tellReady(dial, { token, garcon_port: port, sftp_port: 0 }, log);
  process.on('SIGTERM', () => void farewell(dial, token).finally(() => process.exit()));
}

/** tremplin puts it there before the container starts, yet mounts may be late. */
async function readToken(): Promise<string> {
  for (const until = Date.now() + TOKEN_WAIT_MS; ; await sleep(TOKEN_POLL_MS)) {
    const token = existsSync(TOKEN_FILE) ? readFileSync(TOKEN_FILE, 'latin1').trim() : '';
    if (token.length > TOKEN_MAX) throw new Error(`${TOKEN_FILE} is too long`);
    if (token !== '') return token;
    if (Date.now() > until)
      throw new Error(`there is no token in ${TOKEN_FILE}: was this container started by tremplin?`);
  }
}

function listenOnFirstFree(onConnection: OnVsockConnection): number {
  for (let port: number = PORTS.first; port <= PORTS.last; port++) {
    try {
      listenVsockStreams(port, onConnection);
      return port;
    } catch (e) {
      if (!isLinuxError(e, 'EADDRINUSE')) throw e;
    }
  }
  throw new Error(`no port of ${PORTS.first} to ${PORTS.last} is free`);
}

interface StartupInfo {
  readonly token: string;
  readonly garcon_port: number;
  readonly sftp_port: number;
}

/** Calls until the host knows this container. */
async function tellReady(dial: Dial, request: StartupInfo, log: (line: string) => void): Promise<void> {
  let wait: number = RETRY_MS.first;
  for (let tries = 1; ; tries++) {
    try {
      await callUnary({
        ...{ wire: hostWire, service: SERVICE, method: 'ContainerReady', request, deadlineMs: DEADLINE_MS },
        dial: (signal) => dial(CONTAINER_LISTENER_PORT, signal),
      });
      return;
    } catch (e) {
      if (tries === 1) log(`the host does not take it yet: ${(e as Error).message}`);
    }
    await sleep(wait);
    wait = Math.min(wait * 2, RETRY_MS.last);
  }
}

async function farewell(dial: Dial, token: string): Promise<void> {
  await callUnary({
    ...{ wire: hostWire, service: SERVICE, method: 'ContainerShutdown', request: { token }, deadlineMs: 1_000 },
    dial: (signal) => dial(CONTAINER_LISTENER_PORT, signal),
  }).catch(() => {});
}
