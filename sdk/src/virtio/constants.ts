// Numbers of the virtio specification (1.2 and 1.3): device ids, feature bits, virtqueue flags.

/** Device ids by name, §5. A name is what a device definition gives as its `type`. */
export const VIRTIO_DEVICES = {
  net: 1,
  block: 2,
  console: 3,
  rng: 4,
  balloon: 5,
  rpmsg: 7,
  scsi: 8,
  '9p': 9,
  gpu: 16,
  input: 18,
  vsock: 19,
  crypto: 20,
  iommu: 23,
  mem: 24,
  sound: 25,
  fs: 26,
  pmem: 27,
  rpmb: 28,
  'video-encoder': 30,
  'video-decoder': 31,
  scmi: 32,
  i2c: 34,
  watchdog: 35,
  can: 36,
  bluetooth: 40,
  gpio: 41,
  spi: 45,
} as const;

export type VirtioDeviceName = keyof typeof VIRTIO_DEVICES;

/** Feature bits that no device type owns, §6. */
export const VIRTIO_F = {
  notifyOnEmpty: 24,
  anyLayout: 27,
  indirectDesc: 28,
  eventIdx: 29,
  version1: 32,
  accessPlatform: 33,
  ringPacked: 34,
  inOrder: 35,
  orderPlatform: 36,
  srIov: 37,
  notificationData: 38,
  notifConfigData: 39,
  ringReset: 40,
  adminVq: 41,
} as const;

/** §5.1.3 */
export const VIRTIO_NET_F = {
  csum: 0,
  guestCsum: 1,
  ctrlGuestOffloads: 2,
  mtu: 3,
  mac: 5,
  guestTso4: 7,
  guestTso6: 8,
  guestEcn: 9,
  guestUfo: 10,
  hostTso4: 11,
  hostTso6: 12,
  hostEcn: 13,
  hostUfo: 14,
  mrgRxbuf: 15,
  status: 16,
  ctrlVq: 17,
  ctrlRx: 18,
  ctrlVlan: 19,
  guestAnnounce: 21,
  mq: 22,
  ctrlMacAddr: 23,
  hashTunnel: 51,
  vqNotfCoal: 52,
  notfCoal: 53,
  guestUso4: 54,
  guestUso6: 55,
  hostUso: 56,
  hashReport: 57,
  guestHdrlen: 59,
  rss: 60,
  rscExt: 61,
  standby: 62,
  speedDuplex: 63,
} as const;

/** §5.2.3 */
export const VIRTIO_BLK_F = {
  sizeMax: 1,
  segMax: 2,
  geometry: 4,
  readOnly: 5,
  blkSize: 6,
  flush: 9,
  topology: 10,
  configWce: 11,
  mq: 12,
  discard: 13,
  writeZeroes: 14,
  lifetime: 15,
  secureErase: 16,
  zoned: 17,
} as const;

/** §5.3.3 */
export const VIRTIO_CONSOLE_F = { size: 0, multiport: 1, emergWrite: 2 } as const;

/** §5.4.3: entropy devices have none. */
export const VIRTIO_RNG_F = {} as const;

/** §5.5.3 */
export const VIRTIO_BALLOON_F = {
  mustTellHost: 0,
  statsVq: 1,
  deflateOnOom: 2,
  freePageHint: 3,
  pagePoison: 4,
  pageReporting: 5,
} as const;

/** §5.8.3: input devices have none. */
export const VIRTIO_INPUT_F = {} as const;

/** §5.10.3 */
export const VIRTIO_VSOCK_F = { stream: 0, seqpacket: 1, noImpliedStream: 2 } as const;

/** §5.11.3 */
export const VIRTIO_FS_F = { notification: 0 } as const;

/** Descriptor flags: of both ring formats (§2.7.5, §2.8.1), then those of the packed one only. */
export const DESC_F_NEXT: number = 1;
export const DESC_F_WRITE: number = 2;
export const DESC_F_INDIRECT: number = 4;
export const DESC_F_AVAIL: number = 0x80;
export const DESC_F_USED: number = 0x8000;

/** `flags` of the available ring, §2.7.6: the driver wants no interrupt. A hint. */
export const AVAIL_F_NO_INTERRUPT: number = 1;
/** `flags` of the used ring, §2.7.8: the device wants no kick. A hint. */
export const USED_F_NO_NOTIFY: number = 1;

/** `flags` of an event suppression structure of the packed ring, §2.8.14. */
export const RING_EVENT_ENABLE: number = 0;
export const RING_EVENT_DISABLE: number = 1;
export const RING_EVENT_DESC: number = 2;

/** The largest queue of both formats, §2.7 and §2.8. */
export const QUEUE_SIZE_MAX: number = 32768;
