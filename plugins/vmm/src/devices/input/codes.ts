// Numbers of events, include/uapi/linux/input-event-codes.h, and of the configuration space, virtio 1.2 §5.8.4 and .6.

export const EV = { syn: 0, key: 1, rel: 2, abs: 3, msc: 4, led: 0x11, rep: 0x14 } as const;
export const SYN_REPORT = 0;

export const REL = { x: 0, y: 1, hwheel: 6, wheel: 8 } as const;
export const ABS = { x: 0, y: 1, slot: 0x2f, positionX: 0x35, positionY: 0x36, trackingId: 0x39 } as const;
export const BTN = { left: 0x110, right: 0x111, middle: 0x112, side: 0x113, extra: 0x114, touch: 0x14a } as const;
export const LED = { num: 0, caps: 1, scroll: 2 } as const;
/** KEY_ESC to KEY_MICMUTE: what keyboards have. */
export const FIRST_KEY = 1;
export const LAST_KEY = 248;
export const PROP_DIRECT = 1;
export const BUS_VIRTUAL = 6;

/** struct virtio_input_event: type u16, code u16, value u32. */
export const EVENT_BYTES = 8;

/** struct virtio_input_config: select u8@0, subsel u8@1, size u8@2, then 128 bytes of data at 8. */
export const CONFIG = { bytes: 136, select: 0, subsel: 1, size: 2, data: 8, dataBytes: 128 } as const;
export const SELECT = { name: 1, serial: 2, ids: 3, props: 0x10, events: 0x11, absolute: 0x12 } as const;
