// A description with everything filled in: what is left to do is to make it.

import { isIPv4 } from 'node:net';
import { isAbsolute, join } from 'node:path';
import type { GuestAddress, SerialFile } from '../contract.ts';
import { errors } from '../errors.ts';
import type { VmDescription } from './schema.ts';
import { plannedSerials, serialParams } from './serial.ts';
import { toMib } from './size.ts';

/** A device with a process of its own. */
export interface PlannedDevice {
  readonly id: string;
  readonly kind: string;
  readonly options: unknown;
  /** It was not asked for: left out when nobody has the kind. */
  readonly optional: boolean;
  readonly wantsMac: boolean;
  /** As asked for. */
  readonly mac?: string;
  readonly tag?: string;
  readonly wantsCid: boolean;
  readonly cid?: number;
}

/** A device of the machine itself. */
export interface PlannedNative {
  readonly id: string;
  readonly kind: 'user-net' | 'balloon' | 'keyboard' | 'tablet' | 'mouse';
  readonly wantsMac: boolean;
  readonly mac?: string;
  readonly guest?: GuestAddress;
}

export interface VmPlan {
  readonly name: string;
  readonly board: 'pc' | 'q35';
  readonly accel: 'auto' | 'kvm' | 'tcg';
  /** Absolute; `undefined`: the default guest. */
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly params: string;
  readonly memoryMib: number;
  readonly cpus: number;
  readonly devices: readonly PlannedDevice[];
  readonly natives: readonly PlannedNative[];
  readonly serials: readonly SerialFile[];
}

const DEFAULT_MIB = 512;
/** Less, and Debian's kernel does not get to user space. */
const MIN_MIB = 64;

type Names = (kind: string) => string;

export interface PlanDefaults {
  /** What relative paths are relative to. */
  readonly cwd: string;
  /** Of a network card that names none. */
  readonly netBackend: 'passt' | 'user';
}

/** @throws VMM_ERR_DESCRIPTION */
export function planVm(given: VmDescription & { readonly name: string }, defaults: PlanDefaults): VmPlan {
  const { cwd, netBackend } = defaults;
  const description = {
    ...given,
    net: (given.net ?? [{}]).map((card) => ({ ...card, backend: card.backend ?? netBackend })),
  };
  const { name, params = '', mem = DEFAULT_MIB } = description;
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(cwd, path));
  const memoryMib = toMib(mem);
  if (memoryMib < MIN_MIB) throw refuse(name, `mem: ${memoryMib} MiB is less than ${MIN_MIB}`);
  if (description.initrd !== undefined && description.kernel === undefined) {
    throw refuse(name, 'initrd: it needs the kernel that it was made for');
  }
  for (const card of description.net) {
    checkAddress(name, card);
    checkPorts(name, card);
  }
  const names = numbered();
  const devices = plannedDevices(description, names, absolute);
  const natives = plannedNatives(description, names);
  refuseTwins(name, [...devices, ...natives]);
  return {
    name,
    board: description.board ?? 'pc',
    accel: description.accel ?? 'auto',
    kernel: description.kernel === undefined ? undefined : absolute(description.kernel),
    initrd: description.initrd === undefined ? undefined : absolute(description.initrd),
    params: [...serialParams(description.serial), ...[params].flat()].filter((part) => part !== '').join(' '),
    memoryMib,
    cpus: description.cpus ?? 1,
    devices,
    natives,
    serials: plannedSerials(name, description.serial, absolute),
  };
}

const plain = { optional: false, wantsMac: false, wantsCid: false } as const;

function plannedDevices(description: VmDescription, names: Names, absolute: (path: string) => string): PlannedDevice[] {
  const { block = [], net = [], vsock = true, rng = true, share = [], device = [] } = description;
  const blocks = block.map(({ path, ro, id, sparse, 'block-size': blockSize, 'queue-size': queueSize, ...rest }) => ({
    ...plain,
    id: names('block'),
    kind: 'block',
    options: defined({
      path: absolute(path),
      readonly: ro,
      serial: id,
      discard: sparse,
      blockSize,
      queueSize,
      ...rest,
    }),
  }));
  const cards = net
    .filter(({ backend }) => backend !== 'user' && backend !== 'none')
    .map(({ backend, mac, 'tap-name': tapName, 'vq-pairs': pairs, tcp, udp, ...card }) => ({
      ...plain,
      id: names('net'),
      kind: 'net',
      wantsMac: true,
      ...(mac === undefined ? {} : { mac }),
      options: defined({ backend, mac, tapName, pairs, tcp, udp, guest: guestAddress(card) }),
    }));
  const folders = share.map(({ path, tag, ro }) => ({
    ...plain,
    id: names('fs'),
    kind: 'fs',
    tag,
    options: defined({ path: absolute(path), tag, readonly: ro }),
  }));
  const { cid, ports } = typeof vsock === 'object' ? vsock : {};
  const sockets: PlannedDevice = {
    ...plain,
    id: 'vsock0',
    kind: 'vsock',
    optional: description.vsock === undefined,
    wantsCid: true,
    ...(cid === undefined ? {} : { cid }),
    options: defined({ ports }),
  };
  const random = { ...plain, id: 'rng0', kind: 'rng', optional: description.rng === undefined, options: {} };
  const others = device.map(({ kind, id, ...options }) => ({ ...plain, id: id ?? names(kind), kind, options }));
  return [...blocks, ...cards, ...(rng ? [random] : []), ...(vsock === false ? [] : [sockets]), ...folders, ...others];
}

function plannedNatives({ net, balloon = false, input = [] }: VmDescription, names: Names): PlannedNative[] {
  const user = (net ?? []).filter(({ backend }) => backend === 'user');
  return [
    ...user.map(({ mac, ...card }) => {
      const guest = guestAddress(card);
      return {
        id: names('net'),
        kind: 'user-net' as const,
        wantsMac: true,
        ...(mac === undefined ? {} : { mac }),
        ...(guest === undefined ? {} : { guest }),
      };
    }),
    ...(balloon ? [{ id: 'balloon0', kind: 'balloon' as const, wantsMac: false }] : []),
    ...input.map((kind) => ({ id: names(kind), kind, wantsMac: false })),
  ];
}

type Card = NonNullable<VmDescription['net']>[number];

function guestAddress({ address, gateway, dns }: Pick<Card, 'address' | 'gateway' | 'dns'>): GuestAddress | undefined {
  if (address === undefined || gateway === undefined) return undefined;
  return { address, gateway, ...(dns === undefined ? {} : { dns }) };
}

/** @throws VMM_ERR_DESCRIPTION */
function checkAddress(name: string, { backend, address, gateway, dns }: Card): void {
  if (address === undefined && gateway === undefined && dns === undefined) return;
  if (address === undefined || gateway === undefined) throw refuse(name, 'net: address and gateway go together');
  if (backend === 'tap' || backend === 'none') throw refuse(name, `net: ${backend} gives the guest no address`);
  const [own = '', length = ''] = address.split('/');
  const shift = 32 - Number(length);
  if (!isIPv4(own)) throw refuse(name, `net: ${own} is no IPv4 address`);
  if (toNumber(own) >>> shift !== toNumber(gateway) >>> shift || own === gateway) {
    throw refuse(name, `net: gateway ${gateway} is not another address of the network of ${address}`);
  }
  if (
    dns !== undefined &&
    backend === 'user' &&
    (toNumber(own) >>> 8 !== toNumber(dns) >>> 8 || dns === own || dns === gateway)
  ) {
    throw refuse(name, `net: dns ${dns} is not another one of the 256 addresses around ${own}`);
  }
}

/** @throws VMM_ERR_DESCRIPTION */
function checkPorts(name: string, { backend, tcp = [], udp = [] }: Card): void {
  if (backend === 'passt' || tcp.length + udp.length === 0) return;
  const hint = backend === 'user' ? ': install passt' : '';
  throw refuse(name, `net: ${backend} leads no ports of this computer to the guest, as passt does${hint}`);
}

function toNumber(address: string): number {
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

/** `block0`, `block1`, `net0`, … */
function numbered(): Names {
  const counts = new Map<string, number>();
  return (kind) => {
    const count = counts.get(kind) ?? 0;
    counts.set(kind, count + 1);
    return `${kind}${count}`;
  };
}

function refuseTwins(name: string, devices: readonly { readonly id: string }[]): void {
  const ids = devices.map(({ id }) => id);
  const twice = ids.find((id, at) => ids.indexOf(id) !== at);
  if (twice !== undefined) throw refuse(name, `two devices are called "${twice}"`);
}

function defined(options: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function refuse(name: string, why: string): Error {
  return errors.VMM_ERR_DESCRIPTION({ details: { where: `VM "${name}"`, why } });
}
