// The half of the vsock device that runs in the runtime: it makes the sockets in the folder of the VM, and finds somebody
// for the guest's calls. Names as with Firecracker:
//   vsock.sock         to all ports of the guest: say `CONNECT <port>\n`, get `OK <port of the host>\n`
//   vsock.sock.g<port> to one port of the guest, for clients that can say nothing (gRPC)
//   vsock.sock_<port>  where a server of the host listens for the guest's calls to <port>

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { listenUnix } from '@runtime/sdk/linux';
import type { HostHalf, HostRequest } from '../../device-kind.ts';
import { errors } from '../../errors.ts';
import { closeFd } from './close-fd.ts';
import { dial, type HostListener, HostListeners } from './host-listeners.ts';
import { LISTEN_FD, PORT_FD } from './listeners.ts';
import type { VsockOptions } from './options.ts';
import { ANY } from './packet.ts';

/** As the description of a VM has it, with the CID that the guest got. */
export interface VsockSource extends Partial<VsockOptions> {
  /** Ports of the guest that get a socket of their own. */
  readonly ports?: readonly number[];
}

type Place = Pick<HostRequest, 'vm' | 'options' | 'signal' | 'findListener'>;

const SOCKET = 'vsock.sock';
/** Of each listening socket. */
const BACKLOG = 1024;

export const vsockSocket = (directory: string): string => join(directory, SOCKET);
export const guestPortSocket = (directory: string, port: number): string => join(directory, `${SOCKET}.g${port}`);
export const hostPortSocket = (directory: string, port: number): string => join(directory, `${SOCKET}_${port}`);

const isPort = (port: unknown): port is number =>
  Number.isInteger(port) && (port as number) >= 0 && (port as number) < ANY;

/** @throws VMM_ERR_VSOCK_PORT; SDK_ERR_SOCKET_ADDRESS when the folder's path is too long; LinuxError */
export async function openVsock(request: Place, listeners: HostListeners = new HostListeners()): Promise<HostHalf> {
  const { ports = [], ...options } = request.options as VsockSource;
  const { directory } = request.vm;
  const wrong = ports.find((port) => !isPort(port));
  if (wrong !== undefined) throw errors.VMM_ERR_VSOCK_PORT({ details: { port: String(wrong) } });
  const names = [LISTEN_FD, ...new Set(ports.map((port) => `${PORT_FD}${port}`))];
  const fds: Record<string, number> = {};
  try {
    for (const name of names) {
      const path = pathOf(directory, name);
      // The folder is the VM's: what is there was left by a VM of this name that ended badly.
      rmSync(path, { force: true });
      fds[name] = listenUnix(path, { backlog: BACKLOG, mode: 0o600 });
    }
  } catch (e) {
    close(directory, fds);
    throw e;
  }
  return new VsockHost(request, options, fds, listeners);
}

/** For a device process that outlived the runtime, with the sockets that it holds. */
export async function adoptVsock(
  request: Place,
  fds: Readonly<Record<string, number>>,
  listeners: HostListeners = new HostListeners(),
): Promise<HostHalf> {
  const { ports: _, ...options } = request.options as VsockSource;
  return new VsockHost(request, options, fds, listeners);
}

class VsockHost implements HostHalf {
  readonly options: unknown;
  readonly fds: Readonly<Record<string, number>>;
  readonly #place: Place;
  readonly #listeners: HostListeners;

  constructor(place: Place, options: unknown, fds: Readonly<Record<string, number>>, listeners: HostListeners) {
    this.options = options;
    this.fds = fds;
    this.#place = place;
    this.#listeners = listeners;
  }

  /** `connect` answers a connected socket. @throws VMM_ERR_VSOCK_REFUSED: the guest gets a reset */
  async handle(method: string, params: unknown): Promise<{ readonly value: unknown; readonly fds: readonly number[] }> {
    const { name, directory } = this.#place.vm;
    const port = (params as { readonly port?: unknown } | undefined)?.port;
    const refuse = (why: string, cause?: unknown): Error =>
      errors.VMM_ERR_VSOCK_REFUSED({ details: { vm: name, port: String(port), why }, cause });
    if (method !== 'connect') throw refuse(`it asked for "${method}", which is no request of a vsock device`);
    if (!isPort(port)) throw refuse('there is no such port');
    const listener = (await this.#find(port)) ?? { path: hostPortSocket(directory, port) };
    try {
      return { value: null, fds: [await dial(listener, this.#place.signal)] };
    } catch (e) {
      throw refuse(e instanceof Error ? e.message : String(e), e);
    }
  }

  async #find(port: number): Promise<HostListener | undefined> {
    return this.#listeners.find(this.#place.vm.name, port) ?? (await this.#place.findListener?.(port));
  }

  async close(): Promise<void> {
    close(this.#place.vm.directory, this.fds);
  }
}

function pathOf(directory: string, name: string): string {
  return name === LISTEN_FD ? vsockSocket(directory) : guestPortSocket(directory, Number(name.slice(PORT_FD.length)));
}

function close(directory: string, fds: Readonly<Record<string, number>>): void {
  for (const [name, fd] of Object.entries(fds)) {
    closeFd(fd);
    rmSync(pathOf(directory, name), { force: true });
  }
}
