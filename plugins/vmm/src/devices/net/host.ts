// The half of the network device that runs in the runtime: it opens the tap, or starts passt and hands over a connection.

import { randomUUID } from 'node:crypto';
import { closeSync } from 'node:fs';
import {
  describeTap,
  interfaceMtu,
  isInterfaceUp,
  isLinuxError,
  openTap,
  setInterfaceUp,
  setNonBlocking,
  setSocketOption,
  setTapHeaderSize,
  setTapOffload,
  socketPair,
  type Tap,
  TUN_OFFLOAD,
} from '@runtime/sdk/linux';
import type { GuestAddress } from '../../contract.ts';
import type { HostHalf, HostRequest } from '../../device-kind.ts';
import { errors } from '../../errors.ts';
import { findProgram } from '../../machine/qemu/programs.ts';
import { randomMac } from './mac.ts';
import type { NetOptions } from './options.ts';
import { isPortSpec, PASST_FD, type PasstOptions, passtArguments } from './passt.ts';
import { HEADER_BYTES } from './protocol.ts';

/** As the description of a VM has it, with the address that the guest got. */
export interface NetSource {
  readonly backend: 'tap' | 'passt';
  readonly mac?: string;
  /** Pairs of queues, of a tap only; default 1. */
  readonly pairs?: number;
  /** Of a tap: an interface that there is, or that is made. Default: made, and called `rt0`, `rt1`, … */
  readonly tapName?: string;
  /** Bytes; of a tap, default what the interface has. */
  readonly mtu?: number;
  readonly queueSize?: number;
  /** Ports of the host that passt leads to the guest. */
  readonly tcp?: readonly string[];
  readonly udp?: readonly string[];
  /** Of the guest behind passt. */
  readonly guest?: GuestAddress;
}

type Request = Pick<HostRequest, 'id' | 'options' | 'spawn' | 'log'>;

const DEFAULT_NAME = 'rt%d';
/** Frames on their way to and from passt, with what the kernel needs for each; it gives less when net.core.wmem_max says so. */
const PASST_BUFFER_BYTES = 4 * 2 ** 20;
/** What every interface has unless it was told otherwise: the driver need not be told. */
const USUAL_MTU = 1500;
const ALL_OFFLOADS = TUN_OFFLOAD.checksum | TUN_OFFLOAD.tso4 | TUN_OFFLOAD.tso6 | TUN_OFFLOAD.tsoEcn;

/** @throws VMM_ERR_NET_BACKEND */
export async function openNet(request: Request): Promise<HostHalf> {
  const source = request.options as NetSource;
  return source.backend === 'passt' ? passtHalf(request, source) : openTaps(request, source);
}

/** For a device process that outlived the runtime. Its taps are those that it holds; a passt that runs goes on. */
export async function adoptNet(request: Request, fds: Readonly<Record<string, number>>): Promise<HostHalf> {
  const source = request.options as NetSource;
  if (source.backend === 'passt') return passtHalf(request, source);
  const first = fds.tap0;
  if (first === undefined) return openTaps(request, source);
  return tapHalf(source, describeTap(first).name, Object.values(fds));
}

// Taps

function openTaps({ id }: Request, source: NetSource): HostHalf {
  const { pairs = 1, tapName } = source;
  const fds: number[] = [];
  try {
    const first = open(tapName ?? DEFAULT_NAME, pairs > 1);
    fds.push(first.fd);
    while (fds.length < pairs) fds.push(open(first.name, true).fd);
    for (const fd of fds) setTapHeaderSize(fd, HEADER_BYTES);
    if (!isInterfaceUp(first.name)) setInterfaceUp(first.name, true);
    return tapHalf(source, first.name, fds);
  } catch (e) {
    for (const fd of fds) closeSync(fd);
    throw unusable(id, source, e);
  }
}

function open(name: string, multiQueue: boolean): Tap {
  try {
    return openTap({ name, vnetHeader: true, multiQueue });
  } catch (e) {
    // One that was made for many queues can be used with one, but has to be opened as what it is.
    if (multiQueue || !isLinuxError(e, 'EINVAL')) throw e;
    return openTap({ name, vnetHeader: true, multiQueue: true });
  }
}

function tapHalf(source: NetSource, name: string, fds: readonly number[]): HostHalf {
  const mtu = source.mtu ?? interfaceMtu(name);
  const options = {
    ...common(source),
    backend: 'tap',
    queuePairs: fds.length,
    mtu: mtu === USUAL_MTU && source.mtu === undefined ? 0 : mtu,
    offload: canOffload(fds[0] as number),
  } satisfies Partial<NetOptions>;
  return {
    options,
    fds: Object.fromEntries(fds.map((fd, i) => [`tap${i}`, fd])),
    close: async () => {
      for (const fd of fds) closeSync(fd);
    },
  };
}

function canOffload(fd: number): boolean {
  try {
    setTapOffload(fd, ALL_OFFLOADS);
    // Until the guest has said what it takes.
    setTapOffload(fd, 0);
    return true;
  } catch {
    return false;
  }
}

function common({ mac = randomMac(), queueSize }: NetSource) {
  return { mac, ...(queueSize === undefined ? {} : { queueSize }) };
}

const HINTS: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  ENOENT: ['/dev/net/tun is not there', 'Load the module: modprobe tun'],
  EACCES: ['/dev/net/tun may not be opened by this user', 'Give it mode 0666, or use passt.'],
  EPERM: [
    'the interface may not be made or opened by this user',
    'Have it made for you: ip tuntap add dev NAME mode tap user USER vnet_hdr multi_queue; or use passt.',
  ],
  EBUSY: ['another program has the interface', 'Name another one, or stop that program.'],
  EINVAL: ['the interface is no tap, or has not as many queues', 'Make it anew: ip tuntap add … mode tap multi_queue'],
};

function unusable(device: string, { backend, tapName }: NetSource, e: unknown): Error {
  const { message, code, errnoName } = e as Error & { readonly code?: string; readonly errnoName?: string };
  const [why, hint] = HINTS[errnoName ?? code ?? ''] ?? [message, 'See what the system says about it.'];
  const details = { backend: tapName === undefined ? backend : `${backend} ${tapName}`, device, why, hint };
  return errors.VMM_ERR_NET_BACKEND({ details, cause: e });
}

// passt

/** Each connection is one passt: it ends when its connection does, and the device asks for another one. */
function passtHalf({ id, spawn, log }: Request, source: NetSource): HostHalf {
  const refuse = (why: string, hint: string): Error =>
    errors.VMM_ERR_NET_BACKEND({ details: { backend: 'passt', device: id, why, hint } });
  const program = findProgram('passt');
  if (program === undefined) throw refuse('it is not there', 'Install it: apt-get install passt');
  const { mtu = 0, tcp = [], udp = [], guest } = source;
  const options: PasstOptions = { mtu, tcp, udp, guest };
  const wrong = [...options.tcp, ...options.udp].find((port) => !isPortSpec(port));
  if (wrong !== undefined) throw refuse(`it takes no port "${wrong}"`, 'Write a port of the host: 8080, 2222:22.');
  if ((source.pairs ?? 1) > 1) throw refuse('it has one pair of queues', 'Leave out vq-pairs, or use a tap.');
  let running: Awaited<ReturnType<Request['spawn']>> | undefined;
  let isClosed = false;
  return {
    options: { ...common(source), backend: 'passt', mtu: options.mtu } satisfies Partial<NetOptions>,
    fds: {},
    async handle(method) {
      if (method !== 'connect' || isClosed)
        throw errors.VMM_ERR_NET_REQUEST({ details: { what: `request "${method}"`, why: 'nobody answers it' } });
      await running?.stop();
      const [ours, theirs] = socketPair('stream');
      try {
        // passt waits in recv(2) for the rest of a frame; told to come back later, it takes what follows for a new one.
        setNonBlocking(theirs, false);
        // What it cannot pass on at once it throws away, and sends again when that is missed.
        for (const fd of [ours, theirs]) setSocketOption(fd, 'sendBuffer', PASST_BUFFER_BYTES);
        running = await spawn({
          // Never that of one that an earlier runtime has started, which is not what is asked for.
          name: `passt-${randomUUID().slice(0, 8)}`,
          kind: 'passt',
          argv: passtArguments(program, options),
          fds: [{ child: PASST_FD, parent: theirs }],
        });
        void running.exited.then(() => log.debug({ device: id }, 'passt has ended'));
        return { value: null, fds: [ours] };
      } catch (e) {
        closeSync(ours);
        throw e;
      } finally {
        closeSync(theirs);
      }
    },
    async close() {
      isClosed = true;
      await running?.stop();
    },
  };
}
