// The back end of one vhost-user connection: the front end (a VMM) sets up memory and rings by messages, this starts and
// stops the queues of a device accordingly. QEMU docs/interop/vhost-user.rst.

import { isRuntimeError } from '@runtime/core/errors';
import { errors } from '../../errors.ts';
import { isLinuxError } from '../../linux/call.ts';
import type { BackendDevice } from '../backend-device.ts';
import { Connection } from './connection.ts';
import { closeFds, type Frame, type ReceivedFds } from './frames.ts';
import { createHandlers, type Handlers, WithFd } from './handlers.ts';
import { BackendRequest, Flag, type PayloadKind, type RequestName, type RequestSpec, requestById } from './messages.ts';
import { decodePayload, encodeMessage, encodePayload, type Payloads } from './payloads.ts';
import { refused, Session, type SessionOptions } from './session.ts';

export interface VhostUserBackendOptions extends SessionOptions {}

/** Why a connection is over. */
export interface VhostUserEnd {
  /** `front-end`: it went away; `back-end`: close() was called; `error`: it was refused what it cannot do without. */
  readonly by: 'front-end' | 'back-end' | 'error';
  readonly error?: unknown;
}

type AnyHandler = (payload: unknown, fds: ReceivedFds) => unknown;

/**
 * Serves one connection until either side ends it; then all queues are stopped and nothing of it is left. The device and
 * what it knows stay, for the next connection. What the front end does wrong is refused where the protocol has words for
 * that (an acknowledgement, an error value), and by closing the connection where it has none.
 */
export class VhostUserBackend {
  /** Never rejects. */
  readonly closed: Promise<VhostUserEnd>;
  readonly #session: Session;
  readonly #connection: Connection;
  readonly #handlers: Handlers;
  readonly #options: VhostUserBackendOptions;
  #resolveClosed: (end: VhostUserEnd) => void = () => {};
  #end: VhostUserEnd | undefined;
  /** The request that is being handled. */
  #current: Promise<void> = Promise.resolve();

  /** The connected stream socket is owned from here on, also when this throws. @throws LinuxError, SDK_ERR_WATCH */
  constructor(fd: number, device: BackendDevice, options: VhostUserBackendOptions) {
    this.#options = options;
    this.#connection = new Connection(fd, 'requests', {
      frame: (frame) => {
        this.#current = this.#handle(frame);
        return this.#current;
      },
      hungUp: () => this.#session.transfer?.cancel(),
      ended: (error) => this.#ended(isGone(error) ? { by: 'front-end' } : { by: 'error', error }),
    });
    this.#session = new Session(device, options);
    this.#handlers = createHandlers(this.#session);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  start(): void {
    this.#connection.start();
  }

  /** Ends when the queues are stopped and all is given back. */
  async close(): Promise<void> {
    this.#connection.close();
    this.#ended({ by: 'back-end' });
    await this.closed;
  }

  /** The front end reads the configuration space again and tells the driver. At rest it does so before the next start. */
  notifyConfigChange(): void {
    this.#session.notifyConfigChange();
  }

  /** The queue cannot go on; the front end is told, and may set it up anew. */
  queueBroken(index: number): void {
    const ring = this.#session.rings.all[index];
    if (ring !== undefined) this.#session.rings.tellBroken(ring, 'the device has given it up');
  }

  /** Other code of the device serves it again. */
  queueMended(index: number): void {
    const ring = this.#session.rings.all[index];
    if (ring !== undefined) ring.broken = undefined;
  }

  /**
   * Has the front end map part of a file into a shared memory region of the device. The descriptor stays the caller's.
   * @throws SDK_ERR_VHOST_USER_REFUSED, SDK_ERR_VHOST_USER_CLOSED
   */
  shmemMap(fd: number, mapping: Payloads['shmem-map']): Promise<void> {
    return this.#shmem(BackendRequest.SHMEM_MAP, mapping, [fd]);
  }

  /** @throws as shmemMap */
  shmemUnmap(mapping: Payloads['shmem-map']): Promise<void> {
    return this.#shmem(BackendRequest.SHMEM_UNMAP, mapping, []);
  }

  /** For `runtime vm inspect`. */
  describe(): Readonly<Record<string, unknown>> {
    return { connected: this.#connection.open, ...this.#session.describe() };
  }

  async #shmem(spec: RequestSpec<'shmem-map'>, mapping: Payloads['shmem-map'], fds: readonly number[]): Promise<void> {
    const { channel } = this.#session;
    if (!this.#session.negotiated('shmem')) throw refused(spec.name, 'shared memory was not negotiated');
    if (channel === undefined) {
      const details = { what: spec.name, why: 'the front end has opened no channel for requests' };
      throw errors.SDK_ERR_VHOST_USER_CLOSED({ details });
    }
    await channel.request(spec, mapping, { acknowledged: this.#session.negotiated('replyAck'), fds });
  }

  async #handle(frame: Frame): Promise<void> {
    const { fds } = frame;
    const spec = requestById(frame.id);
    try {
      if (spec === undefined) throw refused(`request ${frame.id}`, 'it is unknown');
      const answer = await this.#carryOut(spec, frame);
      if (spec.reply !== undefined) await this.#answer(spec.reply, frame, answer);
      else if (this.#acknowledges(frame)) await this.#send(frame.id, encodePayload('u64', 0n));
    } catch (e) {
      await this.#refuse(spec, frame, e);
    } finally {
      fds.closeRest();
    }
  }

  async #carryOut(spec: RequestSpec, { payload, fds }: Frame): Promise<unknown> {
    if (spec.needs !== undefined && !this.#session.negotiated(spec.needs)) {
      throw refused(spec.name, `${spec.needs} was not negotiated`);
    }
    const decoded = decodePayload(spec.payload, payload);
    const [least, most] = spec.payload === 'memory-table' ? exactly(decoded as readonly unknown[]) : spec.fds;
    if (fds.count < least || fds.count > most) {
      const why = `${spec.name} came with ${fds.count} descriptors`;
      throw errors.SDK_ERR_VHOST_USER_PROTOCOL({ details: { why } });
    }
    const handler = this.#handlers[spec.name as RequestName] as AnyHandler;
    return await handler(decoded, fds);
  }

  async #answer(kind: PayloadKind, frame: Frame, answer: unknown): Promise<void> {
    const fds = answer instanceof WithFd ? [answer.fd] : [];
    try {
      const value = (answer instanceof WithFd ? answer.value : answer) as Payloads[PayloadKind];
      const payload = encodePayload(kind, value);
      // Some send the struct with its padding, some without: each gets its own back.
      const size = kind === 'inflight' ? frame.payload.length : payload.length;
      await this.#send(frame.id, payload.subarray(0, size), fds);
    } finally {
      closeFds(fds);
    }
  }

  /** Says no if the protocol has a way to; otherwise throws, which ends the connection. */
  async #refuse(spec: RequestSpec | undefined, frame: Frame, e: unknown): Promise<void> {
    if (isRuntimeError(e, 'SDK_ERR_VHOST_USER_PROTOCOL') || !this.#connection.open) throw e;
    const text = e instanceof Error ? e.message : String(e);
    let no: Uint8Array;
    if (spec?.refusal === 'empty') no = new Uint8Array(0);
    else if (spec?.refusal === 'status' || (spec?.reply === undefined && this.#acknowledges(frame))) {
      no = encodePayload('u64', 1n);
    } else throw e;
    this.#options.log.warn(text, isRuntimeError(e) ? { code: e.code } : {});
    await this.#send(frame.id, no);
  }

  #acknowledges({ flags }: Frame): boolean {
    return (flags & Flag.needReply) !== 0 && this.#session.negotiated('replyAck');
  }

  #send(id: number, payload: Uint8Array, fds: readonly number[] = []): Promise<void> {
    return this.#connection.send(encodeMessage(id, Flag.version | Flag.reply, payload), fds);
  }

  #ended(end: VhostUserEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    void this.#tearDown(end);
  }

  async #tearDown(end: VhostUserEnd): Promise<void> {
    const { log } = this.#options;
    if (end.by === 'error') {
      const { error } = end;
      const text = error instanceof Error ? error.message : String(error);
      log.warn(`the vhost-user connection was closed: ${text}`, isRuntimeError(error) ? { code: error.code } : {});
    }
    // A request that is being handled may wait for the state of the device, or for a queue to stop.
    this.#session.transfer?.cancel();
    await this.#current.catch(() => {});
    try {
      await this.#session.rings.stopAll();
    } catch (e) {
      log.warn(`a queue did not stop: ${e instanceof Error ? e.message : e}`);
    }
    await this.#session.transfer?.done;
    this.#session.close();
    this.#resolveClosed(end);
  }
}

const exactly = (list: readonly unknown[]): readonly [number, number] => [list.length, list.length];

/** The end of the stream, or what reading and writing say when it came meanwhile. */
const isGone = (e: unknown): boolean => e === undefined || isLinuxError(e, 'EPIPE') || isLinuxError(e, 'ECONNRESET');
