// A device process, seen from inside: a control channel to the runtime and a vhost-user connection to the machine, with
// the device between them. It opens nothing: whatever it works with arrives as a descriptor.

import { closeSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { finishLockdown } from '../../linux/lockdown.ts';
import { acceptUnix } from '../../linux/unix-socket.ts';
import { watch } from '../../linux/watch.ts';
import type { AnyDevice, ControlMessage, DeviceLog } from '../device.ts';
import { createIoEngine } from '../device-io-engine.ts';
import { DeviceRunner } from '../device-runner.ts';
import { DeviceTeam } from '../team/device-team.ts';
import { VhostUserBackend } from '../vhost-user/back-end.ts';
import { type Answer, ControlLink } from './control-link.ts';
import { parseLoad, parseReload, parseRequest } from './control-params.ts';

/** How long a stopping device may finish what is outstanding, in ms. */
const STOP_MS = 2_000;

/**
 * Devices whose front end in QEMU goes on after a reconnect as if nothing had happened (hw/virtio/vhost-user-rng.c and its
 * like): of regions given one by one it believes that they are there still, and only a whole table is sent again.
 */
const FORGOTTEN: ReadonlySet<string> = new Set(['rng', 'i2c', 'gpio']);

/** Gives the code of a device as its files are now; see `loadDevice`. */
export type DeviceLoader = (root: string, file: string) => Promise<AnyDevice>;

/** A device that was compiled into the program of the process. */
export interface CompiledDevice {
  readonly device: AnyDevice;
  /** The module that it is the default export of. */
  readonly file: string;
  /** By which the runtime tells whether its sources are still the same. */
  readonly stamp: string;
}

export interface DeviceHostOptions {
  readonly load: DeviceLoader;
  readonly compiled?: CompiledDevice;
  /** The device is there. */
  loaded(): void;
  /** Ends the process. */
  exit(code: number): void;
}

export class DeviceHost {
  readonly #listener: number;
  readonly #options: DeviceHostOptions;
  #link: ControlLink | undefined;
  #team: DeviceTeam | undefined;
  #backend: VhostUserBackend | undefined;
  #place: { readonly root: string; readonly file: string } | undefined;
  #id = 'device';
  #fds: Readonly<Record<string, number>> = {};

  /**
   * @param listener a listening SOCK_SEQPACKET socket: the runtime connects, and again when it was restarted
   */
  constructor(listener: number, options: DeviceHostOptions) {
    this.#listener = listener;
    this.#options = options;
    watch(listener, { readable: true }, () => {
      for (let fd = acceptUnix(listener); fd !== undefined; fd = acceptUnix(listener)) this.#connected(fd);
    }).ref();
  }

  /** The newest runtime is the one that counts. */
  #connected(fd: number): void {
    const link = new ControlLink(fd, {
      name: this.#id,
      handle: (method, params, fds) => this.#handle(method, params, fds),
      closed: () => {
        if (this.#link === link) this.#link = undefined;
      },
    });
    this.#link?.[Symbol.dispose]();
    this.#link = link;
  }

  async #handle(method: string, params: unknown, fds: readonly number[]): Promise<Answer> {
    switch (method) {
      case 'load':
        return { value: await this.#load(params, fds) };
      case 'connect':
        return { value: this.#connect(fds) };
      case 'reload':
        closeAll(fds);
        return { value: await this.#reload(params) };
      case 'request': {
        const request = parseRequest(params);
        return { value: (await this.#device.handle(request.method, request.params, fds)) ?? null };
      }
      case 'describe':
        closeAll(fds);
        return { value: await this.#describe() };
      case 'trace':
        closeAll(fds);
        return { value: await this.#device.trace() };
      case 'descriptors':
        closeAll(fds);
        return { value: Object.keys(this.#fds), fds: [this.#listener, ...Object.values(this.#fds)] };
      case 'stop':
        closeAll(fds);
        void this.#stop();
        return { value: null };
      default:
        closeAll(fds);
        throw this.#error(`knows no request "${method}"`);
    }
  }

  async #load(params: unknown, fds: readonly number[]): Promise<unknown> {
    const { id, root, file, options, names, threads, compiled } = parseLoad(params, fds.length);
    if (this.#team !== undefined) throw this.#error('has its device already');
    this.#id = id;
    this.#place = { root, file };
    const own = this.#options.compiled;
    const isOwn = own !== undefined && own.file === file && own.stamp === compiled;
    const device = isOwn ? own.device : await this.#loadModule(root, file, fds);
    this.#fds = Object.freeze(Object.fromEntries(names.map((name, at) => [name, fds[at] as number])));
    const log = processLog(id);
    const first = await DeviceRunner.create({
      id,
      device,
      options,
      fds: this.#fds,
      io: createIoEngine(),
      log,
      request: (method, value, given) => this.#request(method, value, given),
    });
    this.#team = await DeviceTeam.create(first, { id, root, file, options, fds: this.#fds, threads, device, log });
    this.#options.loaded();
    // Nothing of the guest has been seen yet.
    finishLockdown();
    const { queueSizes, features, configSize } = first;
    return { type: device.type, queueSizes, features: `0x${features.toString(16)}`, configSize };
  }

  /** What was given for the device is closed when there is none; it is given again. */
  async #loadModule(root: string, file: string, fds: readonly number[]): ReturnType<DeviceLoader> {
    try {
      return await this.#options.load(root, file);
    } catch (e) {
      closeAll(fds);
      throw e;
    }
  }

  #connect(fds: readonly number[]): null {
    const [fd] = fds;
    const team = this.#device;
    if (fd === undefined || fds.length !== 1) {
      closeAll(fds);
      throw this.#error('needs one socket to connect to the machine');
    }
    const old = this.#backend;
    const backend = new VhostUserBackend(fd, team, {
      log: processLog(this.#id),
      ...(FORGOTTEN.has(team.type) ? { limits: { memorySlots: 0 } } : {}),
    });
    this.#backend = backend;
    const begin = (): void => {
      team.link = backend;
      backend.start();
    };
    if (old === undefined) begin();
    else void old.close().finally(begin);
    void backend.closed.then(() => this.#disconnected(backend));
    return null;
  }

  /** The machine is gone or starts anew: the runtime knows which, and hands over the next connection. */
  #disconnected(backend: VhostUserBackend): void {
    if (this.#backend !== backend) return;
    this.#backend = undefined;
    this.#link?.request('disconnected', null).catch(() => {});
  }

  async #reload(params: unknown): Promise<unknown> {
    const place = parseReload(params, this.#place);
    const startedAt = performance.now();
    const device = await this.#options.load(place.root, place.file);
    await this.#device.replace(device, place);
    this.#place = place;
    return { ms: performance.now() - startedAt };
  }

  async #describe(): Promise<unknown> {
    const report = await this.#team?.describe();
    return {
      pid: process.pid,
      connected: this.#backend !== undefined,
      device: report?.described ?? null,
      queueSizes: this.#team?.queueSizes ?? [],
      configSize: this.#team?.configSize ?? 0,
      stats: report?.stats ?? {},
    };
  }

  async #stop(): Promise<void> {
    setTimeout(() => this.#options.exit(0), STOP_MS).unref();
    await this.#backend?.close();
    await this.#team?.close();
    this.#options.exit(0);
  }

  #request(method: string, params: unknown, fds?: readonly number[]): Promise<ControlMessage> {
    if (this.#link === undefined) return Promise.reject(this.#error('is not there: no runtime is connected'));
    return this.#link.request('device', { method, params }, fds);
  }

  get #device(): DeviceTeam {
    if (this.#team === undefined) throw this.#error('has no device yet');
    return this.#team;
  }

  #error(why: string): Error {
    return errors.SDK_ERR_DEVICE_LINK({ details: { device: this.#id, why } });
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeSync(fd);
}

/** Lines on standard error, which the supervisor keeps. */
function processLog(id: string): DeviceLog {
  const line = (level: string, message: string, fields?: Readonly<Record<string, unknown>>): void => {
    process.stderr.write(`${level} ${id}: ${message}${fields === undefined ? '' : ` ${JSON.stringify(fields)}`}\n`);
  };
  return {
    info: (message, fields) => line('info', message, fields),
    warn: (message, fields) => line('warn', message, fields),
  };
}
