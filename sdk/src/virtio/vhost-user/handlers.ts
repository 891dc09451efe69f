// One function for each request of the front end.

import { closeFds, type ReceivedFds } from './frames.ts';
import { isOfFile, mapRegion, unmapRegions } from './memory-regions.ts';
import {
  MAX_CONFIG,
  NO_FD,
  type PayloadKind,
  ProtocolFeature,
  type Request,
  type RequestName,
  VhostFeature,
} from './messages.ts';
import type { Payloads, RegionDescription } from './payloads.ts';
import { RequestChannel } from './request-channel.ts';
import { checkEventfd, refused, type Session, TRANSPORT_FEATURES, takeStream } from './session.ts';
import { StateTransfer } from './state-transfer.ts';
import type { Vring } from './vrings.ts';

/** An answer that a descriptor goes with, which is closed once it is sent. */
export class WithFd<T> {
  readonly value: T;
  readonly fd: number;

  constructor(value: T, fd: number) {
    this.value = value;
    this.fd = fd;
  }
}

type Answer<R> = R extends PayloadKind ? Payloads[R] | WithFd<Payloads[R]> : undefined | void;

export type Handlers = {
  readonly [N in RequestName]: (
    payload: Payloads[(typeof Request)[N]['payload']],
    fds: ReceivedFds,
  ) => Answer<(typeof Request)[N]['reply']> | Promise<Answer<(typeof Request)[N]['reply']>>;
};

const bit = (number: number): bigint => 1n << BigInt(number);
const OK = 0n;
const FAILED = 1n;

/** VRING_BASE of a ring that was never used: the packed one has both wrap counters at 1. */
const firstBase = (packed: boolean): number => (packed ? 0x8000_8000 : 0);

export function createHandlers(session: Session): Handlers {
  const { device, rings } = session;

  const no = (request: RequestName, why: string) => (): never => {
    throw refused(request, why);
  };

  const mustBeStopped = (request: RequestName, ring: Vring): void => {
    if (ring.running) throw refused(request, `queue ${ring.index} runs`);
  };

  /** The queue, and the descriptor or −1, of SET_VRING_KICK, CALL and ERR. */
  const vringFd = (request: RequestName, payload: bigint, fds: ReceivedFds): { ring: Vring; fd: number } => {
    const value = Number(BigInt.asUintN(32, payload));
    const ring = rings.get(request, value & 0xff);
    if ((value & NO_FD) !== 0) return { ring, fd: -1 };
    const fd = fds.take();
    if (fd === undefined) throw refused(request, 'the eventfd did not come');
    try {
      checkEventfd(request, fd);
    } catch (e) {
      closeFds([fd]);
      throw e;
    }
    return { ring, fd };
  };

  const sameRegion = (a: RegionDescription, b: RegionDescription): boolean =>
    a.guestAddress === b.guestAddress && a.userAddress === b.userAddress && a.size === b.size;

  return {
    GET_FEATURES() {
      session.asked = true;
      return session.offered;
    },

    async SET_FEATURES(features) {
      const unknown = features & ~session.offered;
      if (unknown !== 0n) throw refused('SET_FEATURES', `0x${unknown.toString(16)} was not offered`);
      const changed = (features ^ session.features) & ~TRANSPORT_FEATURES;
      if (changed !== 0n && rings.running > 0) throw refused('SET_FEATURES', 'queues run');
      if ((features & bit(VhostFeature.protocolFeatures)) !== 0n && !session.asked) session.goOn();
      const logChanged = ((features ^ session.features) & bit(VhostFeature.logAll)) !== 0n;
      const change = (): void => {
        session.features = features;
      };
      if (logChanged) await rings.around('SET_FEATURES', change);
      else change();
      if (rings.running === 0) device.setFeatures(features & ~TRANSPORT_FEATURES);
      if ((features & bit(VhostFeature.protocolFeatures)) !== 0n) return;
      for (const ring of rings.all) {
        ring.enabled = true;
        await rings.settle('SET_FEATURES', ring);
      }
    },

    SET_OWNER() {},

    async RESET_OWNER() {
      // Deprecated; what is left of it: all rings are disabled.
      for (const ring of rings.all) {
        ring.enabled = false;
        await rings.settle('RESET_OWNER', ring);
      }
    },

    async SET_MEM_TABLE(table, fds) {
      const regions = [];
      try {
        for (const description of table) regions.push(mapRegion('SET_MEM_TABLE', description, fds.take() as number));
        await session.setMemory('SET_MEM_TABLE', regions);
      } catch (e) {
        if (session.regions !== regions) unmapRegions(regions);
        throw e;
      }
    },

    async ADD_MEM_REG(description, fds) {
      const { regions, memorySlots } = session;
      // QEMU 7.2 adds all regions for each pair of queues of a network card, and removes them as often.
      const known = regions.find((region) => sameRegion(region.description, description));
      if (known !== undefined) {
        const fd = fds.take() as number;
        const isSame = isOfFile(known, fd);
        closeFds([fd]);
        if (!isSame) throw refused('ADD_MEM_REG', 'there is another region at this place');
        known.uses += 1;
        return;
      }
      if (regions.length >= memorySlots) throw refused('ADD_MEM_REG', `all ${memorySlots} slots are used`);
      const region = mapRegion('ADD_MEM_REG', description, fds.take() as number);
      try {
        await session.setMemory('ADD_MEM_REG', [...regions, region]);
      } catch (e) {
        if (!session.regions.includes(region)) unmapRegions([region]);
        throw e;
      }
    },

    async REM_MEM_REG(description) {
      const { regions } = session;
      const known = regions.find((region) => sameRegion(region.description, description));
      if (known === undefined) throw refused('REM_MEM_REG', 'there is no such region');
      known.uses -= 1;
      if (known.uses > 0) return;
      await session.setMemory(
        'REM_MEM_REG',
        regions.filter((region) => region !== known),
      );
    },

    GET_MAX_MEM_SLOTS: () => BigInt(session.memorySlots),

    async SET_LOG_BASE(log, fds) {
      await session.setLog('SET_LOG_BASE', log, fds);
      return OK;
    },

    SET_LOG_FD(_, fds) {
      session.setLogFd(fds.take() as number);
    },

    SET_VRING_NUM({ index, num }) {
      const ring = rings.get('SET_VRING_NUM', index);
      mustBeStopped('SET_VRING_NUM', ring);
      const largest = device.queueSizes[index] as number;
      if (num < 1 || num > largest) throw refused('SET_VRING_NUM', `queue ${index} has 1 to ${largest} entries`);
      ring.num = num;
    },

    async SET_VRING_ADDR(address) {
      const ring = rings.get('SET_VRING_ADDR', address.index);
      const change = (): void => {
        ring.address = address;
        ring.broken = undefined;
      };
      // Also to turn the log of the used ring on and off, while the ring runs.
      if (ring.running) await rings.around('SET_VRING_ADDR', change, ring);
      else change();
    },

    SET_VRING_BASE({ index, num }) {
      const ring = rings.get('SET_VRING_BASE', index);
      mustBeStopped('SET_VRING_BASE', ring);
      const { answeredBase } = ring;
      ring.base = num;
      ring.broken = undefined;
      const first = firstBase(session.packed);
      if (answeredBase === undefined || answeredBase === first || num !== first || rings.running > 0) return;
      // The ring begins anew although it was used: the driver has reset the device. QEMU before 8.2 tells no other way.
      for (const other of rings.all) other.answeredBase = undefined;
      device.reset();
      device.setFeatures(session.features & ~TRANSPORT_FEATURES);
    },

    async GET_VRING_BASE({ index }) {
      const ring = rings.get('GET_VRING_BASE', index);
      await rings.stop(ring);
      closeFds([ring.kick]);
      ring.kick = -1;
      ring.started = false;
      ring.broken = undefined;
      ring.answeredBase = ring.base;
      // From here on the base counts, which may be another one after the driver has reset the ring.
      session.inflight(index)?.forget();
      return { index, num: ring.base };
    },

    async SET_VRING_KICK(payload, fds) {
      const { ring, fd } = vringFd('SET_VRING_KICK', payload, fds);
      await rings.stop(ring);
      closeFds([ring.kick]);
      ring.kick = fd;
      ring.started = true;
      ring.broken = undefined;
      await rings.settle('SET_VRING_KICK', ring);
    },

    SET_VRING_CALL(payload, fds) {
      const { ring, fd } = vringFd('SET_VRING_CALL', payload, fds);
      rings.setCall(ring, fd);
    },

    SET_VRING_ERR(payload, fds) {
      const { ring, fd } = vringFd('SET_VRING_ERR', payload, fds);
      rings.setErr(ring, fd);
    },

    GET_PROTOCOL_FEATURES: () => session.offeredProtocol,

    SET_PROTOCOL_FEATURES(features) {
      const unknown = features & ~session.offeredProtocol;
      if (unknown !== 0n) throw refused('SET_PROTOCOL_FEATURES', `0x${unknown.toString(16)} was not offered`);
      if (rings.running > 0) throw refused('SET_PROTOCOL_FEATURES', 'queues run');
      const needed = bit(ProtocolFeature.backendReq) | bit(ProtocolFeature.replyAck);
      if ((features & bit(ProtocolFeature.inbandNotifications)) !== 0n && (features & needed) !== needed) {
        throw refused('SET_PROTOCOL_FEATURES', 'in-band notifications need the channel and acknowledgements');
      }
      session.protocol = features;
      session.asked = true;
    },

    GET_QUEUE_NUM: () => BigInt(device.queueCount),

    async SET_VRING_ENABLE({ index, num }) {
      const ring = rings.get('SET_VRING_ENABLE', index);
      // QEMU enables the rings of a network card before it has accepted any feature.
      if ((session.features & bit(VhostFeature.protocolFeatures)) === 0n && session.protocol === 0n) {
        throw refused('SET_VRING_ENABLE', 'protocol features were not negotiated');
      }
      if (num > 1) throw refused('SET_VRING_ENABLE', `${num} is neither 0 nor 1`);
      ring.enabled = num === 1;
      await rings.settle('SET_VRING_ENABLE', ring);
    },

    SEND_RARP(payload) {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, payload, true);
      session.options.net?.sendRarp?.(bytes.slice(0, 6));
    },

    NET_SET_MTU(mtu) {
      // 68 is the least that IPv4 passes, RFC 791; the driver reads 16 bits.
      const taken = mtu >= 68n && mtu <= 65_535n && session.options.net?.setMtu?.(Number(mtu)) === true;
      if (!taken) throw refused('NET_SET_MTU', `${mtu} cannot be the MTU`);
    },

    SET_BACKEND_REQ_FD(_, fds) {
      const fd = takeStream('SET_BACKEND_REQ_FD', fds, false);
      session.channel?.close();
      session.channel = undefined;
      const channel = new RequestChannel(fd, (cause) => {
        if (session.channel === channel) session.channel = undefined;
        const why = cause instanceof Error ? cause.message : 'the front end has closed it';
        session.options.log.info(`the back-end channel ended: ${why}`);
      });
      session.channel = channel;
    },

    IOTLB_MSG: no('IOTLB_MSG', 'VIRTIO_F_ACCESS_PLATFORM is not offered: there is no IOMMU'),
    SET_VRING_ENDIAN: no('SET_VRING_ENDIAN', 'only little-endian devices of virtio 1 are here'),

    GET_CONFIG({ offset, flags, bytes }) {
      const { length } = bytes;
      if (offset + length > MAX_CONFIG) throw refused('GET_CONFIG', `byte ${offset + length} is over ${MAX_CONFIG}`);
      // Front ends ask for the whole struct that they know; what this device does not have reads as 0.
      const answer = new Uint8Array(length);
      const there = Math.min(length, device.configSize - offset);
      if (there > 0) answer.set(device.readConfig(offset, there).subarray(0, there));
      return { offset, flags, bytes: answer };
    },

    SET_CONFIG({ offset, bytes }) {
      if (offset + bytes.length > device.configSize) {
        throw refused('SET_CONFIG', `the space has ${device.configSize} bytes`);
      }
      device.writeConfig(offset, bytes);
    },

    CREATE_CRYPTO_SESSION: no('CREATE_CRYPTO_SESSION', 'this is no crypto device'),
    CLOSE_CRYPTO_SESSION: no('CLOSE_CRYPTO_SESSION', 'this is no crypto device'),
    POSTCOPY_ADVISE: no('POSTCOPY_ADVISE', 'migration by postcopy is not supported'),
    POSTCOPY_LISTEN: no('POSTCOPY_LISTEN', 'migration by postcopy is not supported'),
    POSTCOPY_END: no('POSTCOPY_END', 'migration by postcopy is not supported'),

    async GET_INFLIGHT_FD(asked) {
      const { fd, mmapSize } = await session.createInflight('GET_INFLIGHT_FD', asked);
      return new WithFd({ ...asked, mmapSize, mmapOffset: 0 }, fd);
    },

    SET_INFLIGHT_FD: (description, fds) => session.setInflight('SET_INFLIGHT_FD', description, fds),

    GPU_SET_SOCKET: no('GPU_SET_SOCKET', 'this is no GPU of QEMU'),

    RESET_DEVICE: () => session.reset(),

    VRING_KICK: ({ index }) => rings.kicked('VRING_KICK', rings.get('VRING_KICK', index)),

    async SET_STATUS(status) {
      if (status > 0xffn) throw refused('SET_STATUS', `${status} is no device status`);
      const reset = status === 0n && session.status !== 0;
      session.status = Number(status);
      if (!reset) return;
      // QEMU also says 0 when it only pauses the guest; where it can say RESET_DEVICE, that is what resets.
      if (session.negotiated('resetDevice')) await rings.stopAll();
      else await session.reset();
    },

    GET_STATUS: () => BigInt(session.status),

    GET_SHARED_OBJECT: no('GET_SHARED_OBJECT', 'nothing is shared'),

    SET_DEVICE_STATE_FD({ direction, phase }, fds) {
      if (direction > 1 || phase !== 0) throw refused('SET_DEVICE_STATE_FD', 'the direction or phase is unknown');
      if (rings.running > 0) throw refused('SET_DEVICE_STATE_FD', 'queues run');
      const fd = takeStream('SET_DEVICE_STATE_FD', fds, true);
      session.transfer?.cancel();
      session.transfer =
        direction === 0
          ? StateTransfer.save(fd, () => device.saveState())
          : StateTransfer.load(fd, session.stateBytes, (state) => device.loadState(state));
      return BigInt(NO_FD);
    },

    async CHECK_DEVICE_STATE() {
      const { transfer } = session;
      if (transfer === undefined) throw refused('CHECK_DEVICE_STATE', 'nothing was transferred');
      const failure = await transfer.done;
      if (failure === undefined) return OK;
      session.options.log.warn(
        `the state was not transferred: ${failure instanceof Error ? failure.message : failure}`,
      );
      return FAILED;
    },

    GET_SHMEM_CONFIG: () => session.options.sharedMemory ?? [],
  };
}
