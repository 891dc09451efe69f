// Ports of this computer that lead to a guest: how they are written, and whether they are free.

import { createSocket } from 'node:dgram';
import { createServer, isIPv4 } from 'node:net';
import type { LedPort } from '../contract.ts';
import { errors } from '../errors.ts';

/** Nobody else on the network reaches the guest unless that is asked for. */
const DEFAULT_ADDRESS = '127.0.0.1';
const FORM = /^(?:([\d.]{7,15}):)?(\d{1,5})(?::(\d{1,5}))?(?:\/(tcp|udp))?$/;

/** `8080`, `8080:80`, `127.0.0.1:5353:53/udp`; `undefined`: it is no such thing. */
export function parsePort(text: number | string): LedPort | undefined {
  const [matched, address = DEFAULT_ADDRESS, host, guest = host, protocol = 'tcp'] = FORM.exec(String(text)) ?? [];
  const [hostPort, guestPort] = [Number(host), Number(guest)];
  if (matched === undefined || !isIPv4(address) || !isPort(hostPort) || !isPort(guestPort)) return undefined;
  return { protocol: protocol === 'udp' ? 'udp' : 'tcp', address, hostPort, guestPort };
}

const isPort = (port: number): boolean => port >= 1 && port <= 65_535;

export const portText = ({ protocol, address, hostPort }: LedPort): string => `${address}:${hostPort}/${protocol}`;

/** Of one that is not, whoever leads it would only tell that it has ended. @throws CROSTINI_ERR_PORT_TAKEN */
export async function expectFreePorts(vm: string, ports: readonly LedPort[]): Promise<void> {
  for (const port of ports) {
    try {
      await (port.protocol === 'tcp' ? bindTcp(port) : bindUdp(port));
    } catch (cause) {
      const why = WHY[(cause as NodeJS.ErrnoException).code ?? ''] ?? (cause as Error).message;
      throw errors.CROSTINI_ERR_PORT_TAKEN({ cause, details: { vm, port: portText(port), why } });
    }
  }
}

const WHY: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program has it',
  EACCES: 'this user may not have ports below 1024',
  EADDRNOTAVAIL: 'this computer has no such address',
};

function bindTcp({ address, hostPort }: LedPort): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: address, port: hostPort, exclusive: true }, () => server.close(() => resolve()));
  });
}

function bindUdp({ address, hostPort }: LedPort): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', (e) => {
      socket.close();
      reject(e);
    });
    socket.bind({ address, port: hostPort, exclusive: true }, () => socket.close(() => resolve()));
  });
}
