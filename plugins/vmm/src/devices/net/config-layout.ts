// The configuration space and the features of a network device, virtio 1.2 §5.1.3 and §5.1.4.

import { TUN_OFFLOAD } from '@runtime/sdk/linux';
import { VIRTIO_NET_F } from '@runtime/sdk/virtio';
import { parseMac } from './mac.ts';
import type { NetOptions } from './options.ts';
import { CONFIG, STATUS_LINK_UP } from './protocol.ts';

export function configOf({ mac, mtu, queuePairs }: NetOptions): Uint8Array {
  const bytes = new Uint8Array(CONFIG.bytes);
  const view = new DataView(bytes.buffer);
  bytes.set(parseMac(mac) ?? new Uint8Array(6), CONFIG.mac);
  view.setUint16(CONFIG.status, STATUS_LINK_UP, true);
  view.setUint16(CONFIG.pairs, queuePairs, true);
  view.setUint16(CONFIG.mtu, mtu, true);
  return bytes;
}

export function featuresOf({ mtu, queuePairs, offload }: NetOptions): readonly number[] {
  const { mac, status, mrgRxbuf, ctrlVq, ctrlRx, ctrlMacAddr, mq } = VIRTIO_NET_F;
  const { csum, guestCsum, guestTso4, guestTso6, guestEcn, hostTso4, hostTso6, hostEcn, ctrlGuestOffloads } =
    VIRTIO_NET_F;
  return [
    mac,
    status,
    mrgRxbuf,
    ctrlVq,
    ctrlRx,
    ctrlMacAddr,
    ...(mtu > 0 ? [VIRTIO_NET_F.mtu] : []),
    ...(queuePairs > 1 ? [mq] : []),
    ...(offload
      ? [csum, guestCsum, guestTso4, guestTso6, guestEcn, hostTso4, hostTso6, hostEcn, ctrlGuestOffloads]
      : []),
  ];
}

/** What a tap may leave to the guest, of these features. */
export function tunOffloads(has: (feature: number) => boolean): number {
  // Segments are made of what has no checksum yet.
  if (!has(VIRTIO_NET_F.guestCsum)) return 0;
  const bit = (feature: number, offload: number): number => (has(feature) ? offload : 0);
  return (
    TUN_OFFLOAD.checksum |
    bit(VIRTIO_NET_F.guestTso4, TUN_OFFLOAD.tso4) |
    bit(VIRTIO_NET_F.guestTso6, TUN_OFFLOAD.tso6) |
    bit(VIRTIO_NET_F.guestEcn, TUN_OFFLOAD.tsoEcn)
  );
}

export function setLinkUp(view: DataView, up: boolean): void {
  view.setUint16(CONFIG.status, up ? STATUS_LINK_UP : 0, true);
}
