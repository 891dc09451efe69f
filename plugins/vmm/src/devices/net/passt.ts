// passt: the guest's traffic as sockets of an unprivileged process, without a network of its own. It takes frames from a
// stream socket that it inherits, and ends with the connection.

import type { GuestAddress } from '../../contract.ts';

export interface PasstOptions {
  /** Bytes of a frame without its Ethernet header that the guest is told by DHCP; 0: passt's own choice. */
  readonly mtu: number;
  /** What comes to these ports of the host goes to the guest, in the words of passt(1): `2222:22`, `8080`, `127.0.0.1/80`. */
  readonly tcp: readonly string[];
  readonly udp: readonly string[];
  /** Default: the guest has the addresses of the host. */
  readonly guest?: GuestAddress | undefined;
}

/** Number of the descriptor in passt that is its end of the connection. */
export const PASST_FD = 3;

export function passtArguments(
  program: string,
  { mtu, tcp, udp, guest }: PasstOptions,
): readonly [string, ...string[]] {
  return [
    program,
    '--foreground',
    '--quiet',
    '--stderr',
    ...(mtu > 0 ? ['--mtu', String(mtu)] : []),
    ...(guest === undefined ? [] : addressArguments(guest)),
    // Nothing is forwarded that nobody asked for.
    ...portArguments('--tcp-ports', tcp),
    ...portArguments('--udp-ports', udp),
    '--fd',
    String(PASST_FD),
  ];
}

/** The gateway is then no other name of the host's own loopback addresses, as passt would have it. */
function addressArguments({ address, gateway, dns }: GuestAddress): readonly string[] {
  const [own = '', length = ''] = address.split('/');
  const names = dns === undefined ? [] : ['--dns-forward', dns];
  return ['--ipv4-only', '--address', own, '--netmask', length, '--gateway', gateway, ...names, '--no-map-gw'];
}

/** One by one: in a list only the first may have an address, which all of the list then have. */
const portArguments = (option: string, ports: readonly string[]): readonly string[] =>
  (ports.length > 0 ? ports : ['none']).flatMap((port) => [option, port]);

/** `80`, `8000-8010`, `2222:22`, `127.0.0.1/80`: digits, dots, colons, and nothing that passt could take for an option. */
export const isPortSpec = (text: unknown): text is string =>
  typeof text === 'string' &&
  /^([0-9a-f.:]{2,39}(%[a-z0-9]{1,15})?\/)?\d{1,5}(-\d{1,5})?(:\d{1,5}(-\d{1,5})?)?$/i.test(text);
