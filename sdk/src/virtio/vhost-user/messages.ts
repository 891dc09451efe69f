// The messages of vhost-user as data: numbers, payloads, descriptors, what must have been negotiated.
// QEMU docs/interop/vhost-user.rst, "Front-end message types" and "Back-end message types".

/** Bytes of request, flags and size before each payload. */
export const HEADER_SIZE = 12;
/** Largest payload taken; the largest of the protocol is that of GET_SHMEM_CONFIG, 2,056 bytes. */
export const MAX_PAYLOAD = 4096;
/** Most descriptors that come with one message: one for each region of SET_MEM_TABLE. */
export const MAX_FDS = 8;
/** Most regions of SET_MEM_TABLE, VHOST_MEMORY_BASELINE_NREGIONS of QEMU. */
export const MAX_TABLE_REGIONS = 8;
/** Most bytes of configuration space, VHOST_USER_MAX_CONFIG_SIZE of QEMU. */
export const MAX_CONFIG = 256;
/** Most shared memory regions of a device; GET_SHMEM_CONFIG answers with so many sizes. */
export const MAX_SHMEM_REGIONS = 256;

export const Flag = { version: 1, versionMask: 3, reply: 4, needReply: 8 } as const;
/** In the payloads of SET_VRING_KICK, CALL and ERR, and in the answer to SET_DEVICE_STATE_FD: no descriptor comes. */
export const NO_FD = 0x100;
/** Flag of SET_VRING_ADDR: writes to the used ring are logged. */
export const VRING_F_LOG = 1;

/** Feature bits that belong to the transport and not to the device. */
export const VhostFeature = { logAll: 26, protocolFeatures: 30 } as const;

/** Bits of GET_PROTOCOL_FEATURES; those of the same name without VHOST_USER_PROTOCOL_F_. */
export const ProtocolFeature = {
  mq: 0,
  logShmfd: 1,
  rarp: 2,
  replyAck: 3,
  mtu: 4,
  backendReq: 5,
  crossEndian: 6,
  cryptoSession: 7,
  pagefault: 8,
  config: 9,
  backendSendFd: 10,
  hostNotifier: 11,
  inflightShmfd: 12,
  resetDevice: 13,
  inbandNotifications: 14,
  configureMemSlots: 15,
  status: 16,
  xenMmap: 17,
  sharedObject: 18,
  deviceState: 19,
  shmem: 20,
} as const;
export type ProtocolFeatureName = keyof typeof ProtocolFeature;

export function featureBits(names: Iterable<ProtocolFeatureName>): bigint {
  let bits = 0n;
  for (const name of names) bits |= 1n << BigInt(ProtocolFeature[name]);
  return bits;
}

/** What a payload is; payloads.ts has the layouts. */
export type PayloadKind =
  | 'none'
  | 'u64'
  | 'vring-state'
  | 'vring-address'
  | 'vring-area'
  | 'memory-table'
  | 'memory-region'
  | 'log'
  | 'iotlb'
  | 'config'
  | 'inflight'
  | 'transfer'
  | 'uuid'
  | 'shmem-map'
  | 'shmem-config'
  /** Not understood here, since the request is refused; only bounded. */
  | 'opaque';

export interface RequestSpec<
  P extends PayloadKind = PayloadKind,
  R extends PayloadKind | undefined = PayloadKind | undefined,
> {
  readonly id: number;
  /** As in the specification, without VHOST_USER_. */
  readonly name: string;
  readonly payload: P;
  /** `undefined`: the answer is an acknowledgement, and only when it is asked for. */
  readonly reply: R;
  /** How the answer says no: by a u64 that is not 0, or by being empty. `undefined`: it cannot. */
  readonly refusal: 'status' | 'empty' | undefined;
  /** Fewest and most descriptors. */
  readonly fds: readonly [least: number, most: number];
  /** Only legal when this was negotiated. */
  readonly needs: ProtocolFeatureName | undefined;
}

interface Extra<R> {
  readonly reply?: R;
  readonly refusal?: 'status' | 'empty';
  readonly fds?: readonly [number, number];
  readonly needs?: ProtocolFeatureName;
}

function request<const P extends PayloadKind, const R extends PayloadKind | undefined = undefined>(
  id: number,
  name: string,
  payload: P,
  extra: Extra<R> = {},
): RequestSpec<P, R> {
  const { reply, refusal, fds = [0, 0], needs } = extra;
  return { id, name, payload, reply: reply as R, refusal, fds, needs };
}

/** Front end to back end. */
export const Request = {
  GET_FEATURES: request(1, 'GET_FEATURES', 'none', { reply: 'u64' }),
  SET_FEATURES: request(2, 'SET_FEATURES', 'u64'),
  SET_OWNER: request(3, 'SET_OWNER', 'none'),
  RESET_OWNER: request(4, 'RESET_OWNER', 'none'),
  SET_MEM_TABLE: request(5, 'SET_MEM_TABLE', 'memory-table', { fds: [0, MAX_TABLE_REGIONS] }),
  SET_LOG_BASE: request(6, 'SET_LOG_BASE', 'log', { reply: 'u64', fds: [1, 1], needs: 'logShmfd' }),
  SET_LOG_FD: request(7, 'SET_LOG_FD', 'none', { fds: [1, 1] }),
  SET_VRING_NUM: request(8, 'SET_VRING_NUM', 'vring-state'),
  SET_VRING_ADDR: request(9, 'SET_VRING_ADDR', 'vring-address'),
  SET_VRING_BASE: request(10, 'SET_VRING_BASE', 'vring-state'),
  GET_VRING_BASE: request(11, 'GET_VRING_BASE', 'vring-state', { reply: 'vring-state' }),
  SET_VRING_KICK: request(12, 'SET_VRING_KICK', 'u64', { fds: [0, 1] }),
  SET_VRING_CALL: request(13, 'SET_VRING_CALL', 'u64', { fds: [0, 1] }),
  SET_VRING_ERR: request(14, 'SET_VRING_ERR', 'u64', { fds: [0, 1] }),
  GET_PROTOCOL_FEATURES: request(15, 'GET_PROTOCOL_FEATURES', 'none', { reply: 'u64' }),
  SET_PROTOCOL_FEATURES: request(16, 'SET_PROTOCOL_FEATURES', 'u64'),
  GET_QUEUE_NUM: request(17, 'GET_QUEUE_NUM', 'none', { reply: 'u64', needs: 'mq' }),
  SET_VRING_ENABLE: request(18, 'SET_VRING_ENABLE', 'vring-state'),
  SEND_RARP: request(19, 'SEND_RARP', 'u64', { needs: 'rarp' }),
  NET_SET_MTU: request(20, 'NET_SET_MTU', 'u64', { needs: 'mtu' }),
  SET_BACKEND_REQ_FD: request(21, 'SET_BACKEND_REQ_FD', 'none', { fds: [1, 1], needs: 'backendReq' }),
  IOTLB_MSG: request(22, 'IOTLB_MSG', 'iotlb', { reply: 'u64', refusal: 'status' }),
  SET_VRING_ENDIAN: request(23, 'SET_VRING_ENDIAN', 'vring-state', { needs: 'crossEndian' }),
  GET_CONFIG: request(24, 'GET_CONFIG', 'config', { reply: 'config', refusal: 'empty', needs: 'config' }),
  SET_CONFIG: request(25, 'SET_CONFIG', 'config', { needs: 'config' }),
  CREATE_CRYPTO_SESSION: request(26, 'CREATE_CRYPTO_SESSION', 'opaque', { reply: 'opaque', needs: 'cryptoSession' }),
  CLOSE_CRYPTO_SESSION: request(27, 'CLOSE_CRYPTO_SESSION', 'u64', { needs: 'cryptoSession' }),
  POSTCOPY_ADVISE: request(28, 'POSTCOPY_ADVISE', 'none', { reply: 'opaque', needs: 'pagefault' }),
  POSTCOPY_LISTEN: request(29, 'POSTCOPY_LISTEN', 'none', { needs: 'pagefault' }),
  POSTCOPY_END: request(30, 'POSTCOPY_END', 'none', { reply: 'u64', refusal: 'status', needs: 'pagefault' }),
  GET_INFLIGHT_FD: request(31, 'GET_INFLIGHT_FD', 'inflight', { reply: 'inflight', needs: 'inflightShmfd' }),
  SET_INFLIGHT_FD: request(32, 'SET_INFLIGHT_FD', 'inflight', { fds: [1, 1], needs: 'inflightShmfd' }),
  GPU_SET_SOCKET: request(33, 'GPU_SET_SOCKET', 'none', { fds: [0, 1] }),
  RESET_DEVICE: request(34, 'RESET_DEVICE', 'none', { needs: 'resetDevice' }),
  VRING_KICK: request(35, 'VRING_KICK', 'vring-state', { needs: 'inbandNotifications' }),
  GET_MAX_MEM_SLOTS: request(36, 'GET_MAX_MEM_SLOTS', 'none', { reply: 'u64', needs: 'configureMemSlots' }),
  ADD_MEM_REG: request(37, 'ADD_MEM_REG', 'memory-region', { fds: [1, 1], needs: 'configureMemSlots' }),
  // Older front ends send the descriptor of the region; it is closed unused.
  REM_MEM_REG: request(38, 'REM_MEM_REG', 'memory-region', { fds: [0, 1], needs: 'configureMemSlots' }),
  SET_STATUS: request(39, 'SET_STATUS', 'u64', { needs: 'status' }),
  GET_STATUS: request(40, 'GET_STATUS', 'none', { reply: 'u64', needs: 'status' }),
  GET_SHARED_OBJECT: request(41, 'GET_SHARED_OBJECT', 'uuid', {
    reply: 'opaque',
    refusal: 'empty',
    needs: 'sharedObject',
  }),
  SET_DEVICE_STATE_FD: request(42, 'SET_DEVICE_STATE_FD', 'transfer', {
    reply: 'u64',
    refusal: 'status',
    fds: [1, 1],
    needs: 'deviceState',
  }),
  CHECK_DEVICE_STATE: request(43, 'CHECK_DEVICE_STATE', 'none', {
    reply: 'u64',
    refusal: 'status',
    needs: 'deviceState',
  }),
  GET_SHMEM_CONFIG: request(44, 'GET_SHMEM_CONFIG', 'none', { reply: 'shmem-config', needs: 'shmem' }),
} as const satisfies Record<string, RequestSpec>;
export type RequestName = keyof typeof Request;

/** Back end to front end, on the channel of SET_BACKEND_REQ_FD. */
export const BackendRequest = {
  IOTLB_MSG: request(1, 'BACKEND_IOTLB_MSG', 'iotlb'),
  CONFIG_CHANGE_MSG: request(2, 'BACKEND_CONFIG_CHANGE_MSG', 'none', { needs: 'config' }),
  VRING_HOST_NOTIFIER_MSG: request(3, 'BACKEND_VRING_HOST_NOTIFIER_MSG', 'vring-area', {
    fds: [0, 1],
    needs: 'hostNotifier',
  }),
  VRING_CALL: request(4, 'BACKEND_VRING_CALL', 'vring-state', { needs: 'inbandNotifications' }),
  VRING_ERR: request(5, 'BACKEND_VRING_ERR', 'vring-state', { needs: 'inbandNotifications' }),
  SHARED_OBJECT_ADD: request(6, 'BACKEND_SHARED_OBJECT_ADD', 'uuid', { needs: 'sharedObject' }),
  SHARED_OBJECT_REMOVE: request(7, 'BACKEND_SHARED_OBJECT_REMOVE', 'uuid', { needs: 'sharedObject' }),
  SHARED_OBJECT_LOOKUP: request(8, 'BACKEND_SHARED_OBJECT_LOOKUP', 'uuid', { reply: 'u64', needs: 'sharedObject' }),
  SHMEM_MAP: request(9, 'BACKEND_SHMEM_MAP', 'shmem-map', { fds: [1, 1], needs: 'shmem' }),
  SHMEM_UNMAP: request(10, 'BACKEND_SHMEM_UNMAP', 'shmem-map', { needs: 'shmem' }),
} as const satisfies Record<string, RequestSpec>;
export type BackendRequestName = keyof typeof BackendRequest;

function byId(table: Readonly<Record<string, RequestSpec>>): readonly (RequestSpec | undefined)[] {
  const list: (RequestSpec | undefined)[] = [];
  for (const spec of Object.values(table)) list[spec.id] = spec;
  return list;
}

const requests = byId(Request);
const backendRequests = byId(BackendRequest);

/** `undefined`: no request of this number is known. */
export function requestById(id: number): RequestSpec | undefined {
  return requests[id];
}

export function backendRequestById(id: number): RequestSpec | undefined {
  return backendRequests[id];
}
