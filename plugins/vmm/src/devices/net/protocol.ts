// Numbers of the network device, virtio 1.2 §5.1.

/** struct virtio_net_hdr with num_buffers, which it has in VIRTIO 1 whether or not buffers are merged, §5.1.6. */
export const HEADER_BYTES = 12;
/** Of u16 num_buffers in the header. */
export const NUM_BUFFERS_AT = 10;

/** Two addresses and a type. */
export const MIN_FRAME = 14;
/** A frame before segmentation: 65535 bytes of IP and the Ethernet header, with room for a VLAN tag less. */
export const MAX_FRAME = 65_550;

export const MAC_BYTES = 6;

/** struct virtio_net_config: mac u8[6]@0, status u16@6, max_virtqueue_pairs u16@8, mtu u16@10. §5.1.4 */
export const CONFIG = { bytes: 12, mac: 0, status: 6, pairs: 8, mtu: 10 } as const;
export const STATUS_LINK_UP = 1;

/** Commands of the control queue: class, then command. §5.1.6.5 */
export const COMMAND_CLASS = { rx: 0, mac: 1, mq: 4, guestOffloads: 5 } as const;
export const RX_COMMAND = { promiscuous: 0, allMulticast: 1 } as const;
export const MAC_COMMAND = { tableSet: 0, addressSet: 1 } as const;
export const MQ_COMMAND = { pairsSet: 0 } as const;
export const GUEST_OFFLOADS_COMMAND = { set: 0 } as const;
export const ACK = { ok: 0, error: 1 } as const;

/** One pair of queues, and as many as a tap has (MAX_TAP_QUEUES is 256; no VM here has as many CPUs). */
export const MAX_PAIRS = 16;
