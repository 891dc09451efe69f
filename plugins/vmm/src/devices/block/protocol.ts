// The wire format of virtio-blk: virtio 1.2 §5.2, linux/virtio_blk.h.

export const SECTOR = 512;

/** Feature bits, §5.2.3. */
export const Feature = {
  segMax: 2,
  readOnly: 5,
  blkSize: 6,
  flush: 9,
  topology: 10,
  configWce: 11,
  mq: 12,
  discard: 13,
  writeZeroes: 14,
  lifetime: 15,
} as const;

/** Types of requests, §5.2.6. */
export const RequestType = {
  in: 0,
  out: 1,
  flush: 4,
  getId: 8,
  getLifetime: 10,
  discard: 11,
  writeZeroes: 13,
} as const;

/** The last byte of a request, §5.2.6. */
export const Status = { ok: 0, ioError: 1, unsupported: 2 } as const;

/** le32 type, le32 reserved, le64 sector. */
export const HEADER_BYTES = 16;
/** What GET_ID answers: a string that ends with a zero unless it fills all of it. */
export const ID_BYTES = 20;
/** le16 pre_eol_info, le16 device_lifetime_est_typ_a, le16 device_lifetime_est_typ_b. */
export const LIFETIME_BYTES = 6;

/** struct virtio_blk_discard_write_zeroes: le64 sector, le32 num_sectors, le32 flags. */
export const RANGE_BYTES = 16;
/** Ranges in one DISCARD or WRITE_ZEROES. */
export const MAX_RANGES = 32;
/** Of one range, in sectors: 2 GiB. */
export const MAX_RANGE_SECTORS = 2 ** 22;
/** The one flag of a range, for WRITE_ZEROES only: the space may be given back. */
export const RANGE_UNMAP = 1;
