// Commands of the driver, virtio 1.2 §5.1.6.5. Each is checked to be exactly what it must be, or is refused whole.

import type { Chain, Virtqueue } from '@runtime/sdk/virtio';
import { VIRTIO_NET_F } from '@runtime/sdk/virtio';
import { isStation, macAt } from './mac.ts';
import {
  ACK,
  COMMAND_CLASS,
  GUEST_OFFLOADS_COMMAND,
  MAC_BYTES,
  MAC_COMMAND,
  MQ_COMMAND,
  RX_COMMAND,
} from './protocol.ts';
import type { RxFilter } from './rx-filter.ts';
import type { NetStats } from './stats.ts';

/** Class and command. */
const COMMAND_BYTES = 2;
/** Two lists of addresses that a driver has no reason to make longer. */
const MAX_COMMAND = 64 * 1024;
/** For one turn. */
const MAX_COMMANDS = 16;

export interface ControlEffects {
  /** What the driver has accepted. */
  readonly has: (feature: number) => boolean;
  readonly maxPairs: number;
  readonly filter: RxFilter;
  setMac(mac: Uint8Array): void;
  setPairs(pairs: number): void;
  /** Feature bits of the offloads for the guest that it wants now. False when the host does not have them. */
  setGuestOffloads(bits: bigint): boolean;
}

/** Feature bits that VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET may have. */
export const GUEST_OFFLOADS = [
  VIRTIO_NET_F.guestCsum,
  VIRTIO_NET_F.guestTso4,
  VIRTIO_NET_F.guestTso6,
  VIRTIO_NET_F.guestEcn,
  VIRTIO_NET_F.guestUfo,
] as const;

export function serveControl(queue: Virtqueue, effects: ControlEffects, stats: NetStats): void {
  for (let i = 0; i < MAX_COMMANDS; i++) {
    const chain = queue.pop();
    if (chain === undefined) return;
    const isRight = chain.readableBytes <= MAX_COMMAND && chain.writableBytes > 0 && carryOut(chain, effects);
    stats.commands += 1;
    if (!isRight) stats.commandsRefused += 1;
    queue.push(chain.head, chain.writeU8(0, isRight ? ACK.ok : ACK.error) ? 1 : 0);
  }
}

function carryOut(chain: Chain, effects: ControlEffects): boolean {
  // Copied first: the guest can change it between the check and the use.
  const bytes = new Uint8Array(chain.readableBytes);
  chain.read(bytes);
  if (bytes.length < COMMAND_BYTES) return false;
  const data = bytes.subarray(COMMAND_BYTES);
  const command = bytes[1] as number;
  switch (bytes[0]) {
    case COMMAND_CLASS.rx:
      return effects.has(VIRTIO_NET_F.ctrlRx) && receiveMode(command, data, effects.filter);
    case COMMAND_CLASS.mac:
      return addresses(command, data, effects);
    case COMMAND_CLASS.mq:
      return effects.has(VIRTIO_NET_F.mq) && pairs(command, data, effects);
    case COMMAND_CLASS.guestOffloads:
      return effects.has(VIRTIO_NET_F.ctrlGuestOffloads) && guestOffloads(command, data, effects);
    default:
      return false;
  }
}

function receiveMode(command: number, data: Uint8Array, filter: RxFilter): boolean {
  const [on] = data;
  if (data.length !== 1 || on === undefined || on > 1) return false;
  if (command === RX_COMMAND.promiscuous) filter.change({ promiscuous: on === 1 });
  else if (command === RX_COMMAND.allMulticast) filter.change({ allMulticast: on === 1 });
  else return false;
  return true;
}

function addresses(command: number, data: Uint8Array, { has, filter, setMac }: ControlEffects): boolean {
  if (command === MAC_COMMAND.addressSet) {
    if (!has(VIRTIO_NET_F.ctrlMacAddr) || !isStation(data)) return false;
    filter.change({ own: macAt(data, 0) });
    setMac(data);
    return true;
  }
  if (command !== MAC_COMMAND.tableSet || !has(VIRTIO_NET_F.ctrlRx)) return false;
  const unicast = addressList(data, 0);
  if (unicast === undefined) return false;
  const multicast = addressList(data, 4 + unicast.length * MAC_BYTES);
  if (multicast === undefined || data.length !== 8 + (unicast.length + multicast.length) * MAC_BYTES) return false;
  filter.setTable(unicast, multicast);
  return true;
}

/** struct virtio_net_ctrl_mac { le32 entries; u8 macs[entries][6]; }; `undefined` when it is not all there. */
function addressList(data: Uint8Array, at: number): number[] | undefined {
  if (data.length < at + 4) return undefined;
  const entries = new DataView(data.buffer, data.byteOffset).getUint32(at, true);
  if (entries > (data.length - at - 4) / MAC_BYTES) return undefined;
  return Array.from({ length: entries }, (_, i) => macAt(data, at + 4 + i * MAC_BYTES));
}

function pairs(command: number, data: Uint8Array, { maxPairs, setPairs }: ControlEffects): boolean {
  const [low, high] = data;
  if (command !== MQ_COMMAND.pairsSet || data.length !== 2 || low === undefined || high === undefined) return false;
  const wanted = low + high * 256;
  if (wanted < 1 || wanted > maxPairs) return false;
  setPairs(wanted);
  return true;
}

function guestOffloads(command: number, data: Uint8Array, { has, setGuestOffloads }: ControlEffects): boolean {
  if (command !== GUEST_OFFLOADS_COMMAND.set || data.length !== 8) return false;
  const wanted = new DataView(data.buffer, data.byteOffset).getBigUint64(0, true);
  const negotiated = GUEST_OFFLOADS.filter(has).reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
  return (wanted & ~negotiated) === 0n && setGuestOffloads(wanted);
}
