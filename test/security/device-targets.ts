// Each of our devices, with what it works on: a disk, a socket, a terminal.

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectUnix, FdSocket, isLinuxError, listenUnix, socketPair } from '@runtime/sdk/linux';
import { type DrivenDevice, driveDevice, type Random } from '@runtime/sdk/testing';
import block from '../../plugins/vmm/src/devices/block/index.ts';
import consoleDevice from '../../plugins/vmm/src/devices/console/index.ts';
import input from '../../plugins/vmm/src/devices/input/index.ts';
import net from '../../plugins/vmm/src/devices/net/index.ts';
import rng from '../../plugins/vmm/src/devices/rng/index.ts';
import vsock from '../../plugins/vmm/src/devices/vsock/index.ts';
import { imageFile } from '../../plugins/vmm/src/disk/image-file.ts';
import { checkImage } from '../../plugins/vmm/src/disk/qcow2/check.ts';
import { createQcow2 } from '../../plugins/vmm/src/disk/qcow2/create.ts';
import { readHeader } from '../../plugins/vmm/src/disk/qcow2/header.ts';
import dice from '../../sdk/src/scaffold/template-device/src/device.ts';
import { GuestTarget, type Request } from './guest-target.ts';
import { pick } from './target.ts';

const RAM = 4 * 1024 * 1024;
const SECTORS = 128;
const MAC = '02:00:00:00:00:07';
const CID = 42;

function expectBytes(data: Uint8Array, ok: boolean, what: string): void {
  if (!ok) throw new Error(`${what}: ${Buffer.from(data.subarray(0, 64)).toString('hex')}`);
}

export async function blockRaw(): Promise<GuestTarget> {
  const folder = mkdtempSync(join(tmpdir(), 'hostile-block-'));
  const path = join(folder, 'disk.img');
  writeFileSync(path, Buffer.alloc(SECTORS * 512, 1));
  const fd = openSync(path, 'r+');
  const check = (): void => {
    const { length } = readFileSync(path);
    if (length !== SECTORS * 512) throw new Error(`the disk has ${length} bytes now`);
  };
  return blockTarget(folder, fd, { queueSize: 64, queues: 2 }, check);
}

export async function blockQcow2(): Promise<GuestTarget> {
  const folder = mkdtempSync(join(tmpdir(), 'hostile-qcow2-'));
  const path = join(folder, 'disk.qcow2');
  const fd = openSync(path, 'wx+');
  createQcow2(imageFile(fd, path), { size: SECTORS * 512 * 8, clusterSize: 4096 });
  const check = (): void => {
    const image = imageFile(fd, path);
    const { corruptions, badEntries } = checkImage(image, readHeader(image));
    if (corruptions + badEntries > 0)
      throw new Error(`the image has ${corruptions} corruptions, ${badEntries} bad entries`);
  };
  return blockTarget(folder, fd, { queueSize: 64, format: 'qcow2' }, check);
}

async function blockTarget(folder: string, fd: number, options: object, check: () => void): Promise<GuestTarget> {
  const driven = await driveDevice(block, { ram: RAM, fds: { disk: fd }, options });
  return new GuestTarget({
    driven,
    request: blockRequest,
    async serve() {
      const sector = new Uint8Array(512).fill(7);
      const header = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0);
      const written = await driven.exchange([header, sector], [1]);
      expectBytes(written.data, written.data[0] === 0, 'a sector was not written');
      header[0] = 0;
      const { data } = await driven.exchange([header], [512, 1]);
      expectBytes(
        data,
        data.length === 513 && data.every((byte, i) => byte === (i < 512 ? 7 : 0)),
        'not what was written',
      );
    },
    check,
    close() {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    },
  });
}

/** struct virtio_blk_req, with data or ranges behind it. */
function blockRequest(random: Random): Request {
  const type = pick(random, [0, 0, 1, 1, 1, 4, 8, 11, 11, 13, 13, 2, 14, 0xffff_ffff]);
  const ranges = type === 11 || type === 13;
  const odd = pick(random, [0, 0, 0, 0, 1, 7]);
  const data = 512 * (1 + random(8)) - odd;
  const sent = ranges ? 16 * random(5) + odd : type === 1 ? data : 0;
  const bytes = new Uint8Array(16 + sent).fill(random(256), 16);
  const view = new DataView(bytes.buffer);
  const sector = (): bigint => {
    return random(3) > 0
      ? BigInt(random(SECTORS))
      : pick(random, [127n, 128n, 2n ** 32n, 2n ** 53n, 2n ** 55n, 2n ** 64n - 1n]);
  };
  view.setUint32(0, type, true);
  view.setBigUint64(8, sector(), true);
  for (let at = 16; ranges && at + 16 <= bytes.length; at += 16) {
    view.setBigUint64(at, sector(), true);
    view.setUint32(at + 8, pick(random, [0, 1, 2, 8, SECTORS, 2 ** 22, 2 ** 32 - 1]), true);
    view.setUint32(at + 12, pick(random, [0, 0, 0, 1, 2, 2 ** 31]), true);
  }
  return { bytes, room: (type === 0 ? data : type === 8 ? 20 : 0) + pick(random, [1, 1, 1, 1, 0, 2]) };
}

export async function rngTarget(): Promise<GuestTarget> {
  const driven = await driveDevice(rng, { ram: RAM });
  return new GuestTarget({ driven, request: draw, serve: drawn(driven, (bytes) => bytes.some((byte) => byte !== 0)) });
}

export async function diceTarget(): Promise<GuestTarget> {
  const driven = await driveDevice(dice, { ram: RAM });
  return new GuestTarget({
    driven,
    request: draw,
    serve: drawn(driven, (bytes) => bytes.every((byte) => byte >= 1 && byte <= 6)),
  });
}

const nothing = new Uint8Array();
const draw = (random: Random): Request => ({ bytes: nothing, room: pick(random, [1, 16, 64, 5000]) });

function drawn(driven: DrivenDevice, isRight: (bytes: Uint8Array) => boolean): () => Promise<void> {
  return async () => {
    const { data } = await driven.exchange([], [64]);
    expectBytes(data, data.length === 64 && isRight(data), 'no random numbers');
  };
}

export const netPasst = (): Promise<GuestTarget> => netTarget('passt');
export const netTap = (): Promise<GuestTarget> => netTarget('tap');

async function netTarget(backend: 'passt' | 'tap'): Promise<GuestTarget> {
  // A sequenced-packet socket keeps the bounds of frames as a tap does.
  const [mine, theirs] = socketPair(backend === 'tap' ? 'seqpacket' : 'stream');
  const host = new FdSocket(theirs);
  const into = new Uint8Array(1 << 18);
  const [RX, TX, CONTROL] = [0, 1, 2];
  const driven = await driveDevice(net, {
    ram: RAM,
    options: { mac: MAC, backend },
    fds: { [backend === 'tap' ? 'tap0' : 'passt']: mine },
  });
  const drain = (): number => {
    let bytes = 0;
    for (let part = host.receive(into); part !== undefined && part.bytes > 0; part = host.receive(into))
      bytes += part.bytes;
    return bytes;
  };
  return new GuestTarget({
    driven,
    request: (random, queue) => {
      if (queue === RX) return { bytes: nothing, room: pick(random, [11, 12, 100, 1526, 9100]) };
      if (queue === TX) return { bytes: netFrame(random), room: 0 };
      return { bytes: netCommand(random), room: pick(random, [1, 1, 1, 0, 2]) };
    },
    host(random) {
      // Framing is trusted, passt's or the kernel's; what is in the frames comes from anywhere.
      const frame = Buffer.alloc(pick(random, [14, 60, 300, 1514, 9000]), random(256));
      if (random(2) === 0) Buffer.from(MAC.replaceAll(':', ''), 'hex').copy(frame);
      const head = Buffer.alloc(backend === 'tap' ? 12 : 4);
      if (backend === 'passt') head.writeUInt32BE(frame.length);
      host.send(Buffer.concat([head, frame]));
      drain();
    },
    async serve() {
      const command = Uint8Array.of(0, 0, 1);
      const { data } = await driven.exchange([command], [1], CONTROL);
      expectBytes(data, data[0] === 0, 'a command was refused');
      drain();
      await driven.exchange([new Uint8Array(12), new Uint8Array(60).fill(9)], [], TX);
      for (let left = 1000; drain() === 0; left -= 1) {
        if (left === 0) throw new Error('a frame did not come out');
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
    close() {
      host[Symbol.dispose]();
      closeSync(mine);
      closeSync(theirs);
    },
  });
}

/** struct virtio_net_hdr and the first bytes of a frame. */
function netFrame(random: Random): Uint8Array {
  const bytes = Uint8Array.from({ length: 12 + random(200) }, () => random(256));
  bytes[0] = pick(random, [0, 0, 0, 1, 2, 3, 255]);
  bytes[1] = pick(random, [0, 0, 0, 1, 3, 4, 0x81]);
  return bytes;
}

function netCommand(random: Random): Uint8Array {
  const data = Array.from({ length: pick(random, [0, 1, 2, 6, 8, 14, 100]) }, () =>
    pick(random, [0, 1, 2, random(256)]),
  );
  return Uint8Array.of(pick(random, [0, 1, 1, 4, 5, random(256)]), random(3), ...data);
}

export async function vsockTarget(): Promise<GuestTarget> {
  const folder = mkdtempSync(join(tmpdir(), 'hostile-vsock-'));
  const path = join(folder, 'vsock.sock');
  const listen = listenUnix(path, { backlog: 64 });
  /** The other ends, here: of calls of the guest, and of calls to it. */
  const ends: number[] = [];
  const keep = (fd: number): void => {
    ends.push(fd);
    if (ends.length > 16) closeSync(ends.shift() as number);
  };
  const [RX, TX] = [0, 1];
  const driven = await driveDevice(vsock, {
    ram: RAM,
    options: { cid: CID, maxConnections: 16, bufferMemory: 2 ** 20 },
    fds: { listen },
    request: async (_method, params) => {
      if ((params as { port: number }).port > 8) throw new Error('refused');
      const [ours, theirs] = socketPair('stream');
      keep(ours);
      return { value: {}, fds: [theirs] };
    },
  });
  const scratch = new Uint8Array(4096);
  return new GuestTarget({
    driven,
    request: (random, queue) =>
      queue === TX ? vsockPacket(random) : { bytes: nothing, room: pick(random, [8, 44, 45, 400, 4096]) },
    host(random) {
      const fd = ends[random(Math.max(1, ends.length))];
      try {
        if (fd === undefined || random(3) === 0) keep(connectUnix(path));
        else {
          using socket = new FdSocket(fd);
          if (random(2) === 0) socket.receive(scratch);
          else socket.send(random(3) > 0 ? new Uint8Array(1 + random(3000)) : Buffer.from(`CONNECT ${random(5)}\n`));
        }
      } catch (e) {
        // Whoever was called has hung up, or the backlog is full.
        if (!isLinuxError(e)) throw e;
      }
    },
    async serve() {
      for (const fd of ends.splice(0)) closeSync(fd);
      const ports = { from: 77, to: 5 };
      driven.queue(RX).add([], [4096]);
      driven.queue(RX).kick();
      await driven.exchange([packet({ ...ports, op: 1 })], [], TX);
      const [answer] = await driven.completions(1, RX);
      const view = new DataView((answer?.data ?? new Uint8Array(44)).slice().buffer);
      expectBytes(
        answer?.data ?? scratch,
        view.getUint16(30, true) === 2 && view.getUint32(20, true) === 77,
        'no answer',
      );
      await driven.reset();
      for (const fd of ends.splice(0)) closeSync(fd);
    },
    close() {
      closeSync(listen);
      rmSync(folder, { recursive: true });
    },
  });
}

interface PacketParts {
  readonly from: number;
  readonly to: number;
  readonly op: number;
  readonly length?: number;
  readonly type?: number;
  readonly flags?: number;
  readonly bufAlloc?: number;
  readonly forwarded?: number;
  readonly cid?: number;
}

/** struct virtio_vsock_hdr */
function packet({
  from,
  to,
  op,
  length = 0,
  type = 1,
  flags = 0,
  bufAlloc = 65_536,
  forwarded = 0,
  cid = CID,
}: PacketParts) {
  const bytes = new Uint8Array(44);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, cid, true);
  view.setUint32(8, 2, true);
  view.setUint32(16, from, true);
  view.setUint32(20, to, true);
  view.setUint32(24, length, true);
  view.setUint16(28, type, true);
  view.setUint16(30, op, true);
  view.setUint32(32, flags, true);
  view.setUint32(36, bufAlloc, true);
  view.setUint32(40, forwarded, true);
  return bytes;
}

function vsockPacket(random: Random): Request {
  const odd = (usual: number): number =>
    random(6) > 0 ? usual : pick(random, [0, 1, 2 ** 31, 2 ** 32 - 1, random(70_000)]);
  const op = pick(random, [1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 5, 6, 7, 0, 255]);
  const data = op === 5 || random(8) === 0 ? random(300) : 0;
  const head = packet({
    // Few, so that packets meet connections; port 9 takes none.
    from: random(2),
    to: pick(random, [1, 1, 2, 9, random(2 ** 32)]),
    op,
    length: odd(data),
    type: random(8) > 0 ? 1 : random(3),
    flags: odd(op === 4 ? 1 + random(3) : 0),
    bufAlloc: odd(65_536),
    forwarded: odd(0),
    cid: random(16) > 0 ? CID : random(50),
  });
  return { bytes: Buffer.concat([head, Buffer.alloc(data, 3)]), room: 0 };
}

export async function consoleTarget(): Promise<GuestTarget> {
  const [typed, typing] = socketPair('stream');
  const [printed, screen] = socketPair('stream');
  const keyboard = new FdSocket(typing);
  const reader = new FdSocket(screen);
  const into = new Uint8Array(1 << 18);
  const driven = await driveDevice(consoleDevice, { ram: RAM, fds: { in: typed, out: printed } });
  const drain = (): Buffer => {
    const parts: Buffer[] = [];
    for (let part = reader.receive(into); part !== undefined && part.bytes > 0; part = reader.receive(into)) {
      parts.push(Buffer.from(into.subarray(0, part.bytes)));
    }
    return Buffer.concat(parts);
  };
  return new GuestTarget({
    driven,
    request: (random, queue) => {
      return queue === 1
        ? { bytes: new Uint8Array(random(4000)).fill(65), room: 0 }
        : { bytes: nothing, room: random(300) };
    },
    host(random) {
      if (random(2) === 0) keyboard.send(new Uint8Array(1 + random(2000)));
      else drain();
    },
    async serve() {
      const text = Buffer.from('after all that\n');
      // A screen that nobody reads is waited for.
      let output = drain();
      const taken = driven.exchange([text], [], 1);
      for (let left = 1000; !output.subarray(-text.length).equals(text); left -= 1) {
        if (left === 0) throw new Error(`the screen shows something else: ${output.subarray(-64).toString('hex')}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
        output = Buffer.concat([output, drain()]);
      }
      await taken;
    },
    close() {
      for (const socket of [keyboard, reader]) socket[Symbol.dispose]();
      for (const fd of [typed, typing, printed, screen]) closeSync(fd);
    },
  });
}

export async function inputTarget(): Promise<GuestTarget> {
  const driven = await driveDevice(input, { ram: RAM, options: { profile: 'keyboard' } });
  const press = (): Promise<unknown> => driven.runner.handle('event', { events: [[1, 30, 1]] }, []);
  return new GuestTarget({
    driven,
    request: (random, queue) => {
      if (queue === 0) return { bytes: nothing, room: pick(random, [8, 8, 8, 4, 7, 80]) };
      return {
        bytes: Uint8Array.of(pick(random, [17, 17, 0, random(256)]), 0, random(4), 0, random(2), 0, 0, 0),
        room: 0,
      };
    },
    host: () => void press().catch(() => {}),
    async serve() {
      const queue = driven.queue(0);
      for (let i = 0; i < 2; i += 1) queue.add([], [8]);
      queue.kick();
      await press();
      const [event] = await driven.completions(2, 0);
      const data = event?.data ?? new Uint8Array();
      expectBytes(data, data.length === 8, 'no event');
    },
  });
}
