// The payloads of vhost-user messages: bytes to values and back, in the byte order of the machine, which is little-endian
// wherever this runs. What has not exactly the size that it should have is refused.

import { errors } from '../../errors.ts';
import { HEADER_SIZE, MAX_CONFIG, MAX_SHMEM_REGIONS, MAX_TABLE_REGIONS, type PayloadKind } from './messages.ts';

const TWO_32 = 2 ** 32;

export interface VringState {
  readonly index: number;
  readonly num: number;
}

export interface VringAddress {
  readonly index: number;
  /** VRING_F_LOG */
  readonly flags: number;
  /** The front end's own addresses. */
  readonly descriptor: number;
  readonly used: number;
  readonly available: number;
  /** Guest-physical address of the used ring, for the log. */
  readonly log: number;
}

export interface VringArea {
  readonly u64: bigint;
  readonly size: number;
  readonly offset: number;
}

export interface RegionDescription {
  readonly guestAddress: number;
  readonly size: number;
  readonly userAddress: number;
  /** Where the region begins in its file. */
  readonly mmapOffset: number;
}

export interface LogDescription {
  readonly size: number;
  readonly offset: number;
}

export interface IotlbMessage {
  readonly iova: bigint;
  readonly size: bigint;
  readonly userAddress: bigint;
  readonly permissions: number;
  readonly type: number;
}

export interface ConfigAccess {
  readonly offset: number;
  /** 0: the driver writes; 1: restored after a migration. */
  readonly flags: number;
  readonly bytes: Uint8Array;
}

export interface InflightDescription {
  readonly mmapSize: number;
  readonly mmapOffset: number;
  readonly queues: number;
  readonly queueSize: number;
}

export interface TransferParameters {
  /** 0: the back end saves; 1: it loads. */
  readonly direction: number;
  /** 0: all rings are stopped. */
  readonly phase: number;
}

export interface ShmemMapping {
  readonly shmid: number;
  readonly fdOffset: number;
  readonly shmOffset: number;
  readonly length: number;
  /** 1: writable. */
  readonly flags: number;
}

export interface Payloads {
  none: undefined;
  u64: bigint;
  'vring-state': VringState;
  'vring-address': VringAddress;
  'vring-area': VringArea;
  'memory-table': readonly RegionDescription[];
  'memory-region': RegionDescription;
  log: LogDescription;
  iotlb: IotlbMessage;
  config: ConfigAccess;
  inflight: InflightDescription;
  transfer: TransferParameters;
  uuid: Uint8Array;
  'shmem-map': ShmemMapping;
  /** Bytes of each shared memory region; its index is its id. */
  'shmem-config': readonly number[];
  opaque: Uint8Array;
}

interface Codec<T> {
  /** Bytes; a function when they depend on what the payload says. */
  readonly size: number | ((view: DataView) => boolean);
  decode(view: DataView): T;
  encode(value: T): Uint8Array;
}

const REGION = 32;
const CONFIG_HEADER = 12;
const INFLIGHT = 20;

/** Numbers on the wire are below 2^53, or the message is refused: nothing that exists has such an address or size. */
function u64(view: DataView, at: number): number {
  const value = view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
  if (!Number.isSafeInteger(value)) throw refuse(`0x${view.getBigUint64(at, true).toString(16)} is over 2^53`);
  return value;
}

function put64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

function region(view: DataView, at: number): RegionDescription {
  return {
    guestAddress: u64(view, at),
    size: u64(view, at + 8),
    userAddress: u64(view, at + 16),
    mmapOffset: u64(view, at + 24),
  };
}

function putRegion(view: DataView, at: number, value: RegionDescription): void {
  put64(view, at, value.guestAddress);
  put64(view, at + 8, value.size);
  put64(view, at + 16, value.userAddress);
  put64(view, at + 24, value.mmapOffset);
}

const copy = (view: DataView, at: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, view.byteLength - at).slice();

function filled(size: number, fill: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(size);
  fill(new DataView(bytes.buffer));
  return bytes;
}

const codecs: { readonly [K in PayloadKind]: Codec<Payloads[K]> } = {
  none: { size: 0, decode: () => undefined, encode: () => new Uint8Array(0) },
  u64: {
    size: 8,
    decode: (view) => view.getBigUint64(0, true),
    encode: (value) => filled(8, (view) => view.setBigUint64(0, value, true)),
  },
  'vring-state': {
    size: 8,
    decode: (view) => ({ index: view.getUint32(0, true), num: view.getUint32(4, true) }),
    encode: ({ index, num }) =>
      filled(8, (view) => {
        view.setUint32(0, index, true);
        view.setUint32(4, num, true);
      }),
  },
  'vring-address': {
    size: 40,
    decode: (view) => ({
      index: view.getUint32(0, true),
      flags: view.getUint32(4, true),
      descriptor: u64(view, 8),
      used: u64(view, 16),
      available: u64(view, 24),
      log: u64(view, 32),
    }),
    encode: (value) =>
      filled(40, (view) => {
        view.setUint32(0, value.index, true);
        view.setUint32(4, value.flags, true);
        put64(view, 8, value.descriptor);
        put64(view, 16, value.used);
        put64(view, 24, value.available);
        put64(view, 32, value.log);
      }),
  },
  'vring-area': {
    size: 24,
    decode: (view) => ({ u64: view.getBigUint64(0, true), size: u64(view, 8), offset: u64(view, 16) }),
    encode: (value) =>
      filled(24, (view) => {
        view.setBigUint64(0, value.u64, true);
        put64(view, 8, value.size);
        put64(view, 16, value.offset);
      }),
  },
  'memory-table': {
    size: (view) => {
      if (view.byteLength < 8) return false;
      const count = view.getUint32(0, true);
      return count <= MAX_TABLE_REGIONS && view.byteLength === 8 + count * REGION;
    },
    decode: (view) =>
      Array.from({ length: view.getUint32(0, true) }, (_, i): RegionDescription => region(view, 8 + i * REGION)),
    encode: (regions) =>
      filled(8 + regions.length * REGION, (view) => {
        view.setUint32(0, regions.length, true);
        for (const [i, one] of regions.entries()) putRegion(view, 8 + i * REGION, one);
      }),
  },
  'memory-region': {
    size: 8 + REGION,
    decode: (view) => region(view, 8),
    encode: (value) => filled(8 + REGION, (view) => putRegion(view, 8, value)),
  },
  log: {
    size: 16,
    decode: (view) => ({ size: u64(view, 0), offset: u64(view, 8) }),
    encode: ({ size, offset }) =>
      filled(16, (view) => {
        put64(view, 0, size);
        put64(view, 8, offset);
      }),
  },
  iotlb: {
    // struct vhost_iotlb_msg has 6 bytes of padding at its end.
    size: 32,
    decode: (view) => ({
      iova: view.getBigUint64(0, true),
      size: view.getBigUint64(8, true),
      userAddress: view.getBigUint64(16, true),
      permissions: view.getUint8(24),
      type: view.getUint8(25),
    }),
    encode: (value) =>
      filled(32, (view) => {
        view.setBigUint64(0, value.iova, true);
        view.setBigUint64(8, value.size, true);
        view.setBigUint64(16, value.userAddress, true);
        view.setUint8(24, value.permissions);
        view.setUint8(25, value.type);
      }),
  },
  config: {
    size: (view) =>
      view.byteLength >= CONFIG_HEADER &&
      view.byteLength <= CONFIG_HEADER + MAX_CONFIG &&
      view.byteLength === CONFIG_HEADER + view.getUint32(4, true),
    decode: (view) => ({
      offset: view.getUint32(0, true),
      flags: view.getUint32(8, true),
      bytes: copy(view, CONFIG_HEADER),
    }),
    encode: ({ offset, flags, bytes }) =>
      filled(CONFIG_HEADER + bytes.length, (view) => {
        view.setUint32(0, offset, true);
        view.setUint32(4, bytes.length, true);
        view.setUint32(8, flags, true);
        new Uint8Array(view.buffer).set(bytes, CONFIG_HEADER);
      }),
  },
  inflight: {
    // 20 bytes in the specification; QEMU and others send their struct, which has 4 bytes of padding, and want it back.
    size: (view) => view.byteLength === INFLIGHT || view.byteLength === INFLIGHT + 4,
    decode: (view) => ({
      mmapSize: u64(view, 0),
      mmapOffset: u64(view, 8),
      queues: view.getUint16(16, true),
      queueSize: view.getUint16(18, true),
    }),
    encode: (value) =>
      filled(INFLIGHT + 4, (view) => {
        put64(view, 0, value.mmapSize);
        put64(view, 8, value.mmapOffset);
        view.setUint16(16, value.queues, true);
        view.setUint16(18, value.queueSize, true);
      }),
  },
  transfer: {
    size: 8,
    decode: (view) => ({ direction: view.getUint32(0, true), phase: view.getUint32(4, true) }),
    encode: ({ direction, phase }) =>
      filled(8, (view) => {
        view.setUint32(0, direction, true);
        view.setUint32(4, phase, true);
      }),
  },
  uuid: { size: 16, decode: (view) => copy(view, 0), encode: (value) => value.slice(0, 16) },
  'shmem-map': {
    size: 40,
    decode: (view) => ({
      shmid: view.getUint8(0),
      fdOffset: u64(view, 8),
      shmOffset: u64(view, 16),
      length: u64(view, 24),
      flags: u64(view, 32),
    }),
    encode: (value) =>
      filled(40, (view) => {
        view.setUint8(0, value.shmid);
        put64(view, 8, value.fdOffset);
        put64(view, 16, value.shmOffset);
        put64(view, 24, value.length);
        put64(view, 32, value.flags);
      }),
  },
  'shmem-config': {
    size: (view) => view.byteLength === 8 + MAX_SHMEM_REGIONS * 8 && view.getUint32(0, true) <= MAX_SHMEM_REGIONS,
    decode: (view) => {
      const sizes = Array.from({ length: MAX_SHMEM_REGIONS }, (_, i) => u64(view, 8 + i * 8));
      return sizes.slice(0, sizes.findLastIndex((size) => size > 0) + 1);
    },
    encode: (sizes) =>
      filled(8 + MAX_SHMEM_REGIONS * 8, (view) => {
        view.setUint32(0, sizes.filter((size) => size > 0).length, true);
        for (const [i, size] of sizes.entries()) put64(view, 8 + i * 8, size);
      }),
  },
  opaque: { size: () => true, decode: (view) => copy(view, 0), encode: (value) => value.slice() },
};

/** @throws SDK_ERR_VHOST_USER_PROTOCOL when it has not its size, or a count or address in it cannot be */
export function decodePayload<K extends PayloadKind>(kind: K, bytes: Uint8Array): Payloads[K] {
  const codec: Codec<Payloads[K]> = codecs[kind];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fits = typeof codec.size === 'number' ? bytes.length === codec.size : codec.size(view);
  if (!fits) throw refuse(`a payload of ${bytes.length} bytes is no ${kind}`);
  return codec.decode(view);
}

export function encodePayload<K extends PayloadKind>(kind: K, value: Payloads[K]): Uint8Array {
  const codec: Codec<Payloads[K]> = codecs[kind];
  return codec.encode(value);
}

/** A whole message. */
export function encodeMessage(id: number, flags: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id, true);
  view.setUint32(4, flags, true);
  view.setUint32(8, payload.length, true);
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

const refuse = (why: string): Error => errors.SDK_ERR_VHOST_USER_PROTOCOL({ details: { why } });
