// The block device in its own process, as the runtime starts it: killed, replaced and resized while a driver writes.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectUnix, listenUnix, socketPair } from '@runtime/sdk/linux';
import { type Completion, VhostUserFrontEnd } from '@runtime/sdk/testing';
import { ControlLink, deviceProcess } from '@runtime/sdk/virtio';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { imageFile } from '../../disk/image-file.ts';
import { createQcow2 } from '../../disk/qcow2/create.ts';
import { type OpenedBlock, openBlock } from './host.ts';
import { Status } from './protocol.ts';

const MODULE = { root: join(import.meta.dirname, '../../..'), file: join(import.meta.dirname, 'index.ts') };
const DISK_BYTES = 2 ** 20;
const BLOCK = 4096;

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'block-process-'));
  path = join(folder, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, DISK_BYTES);
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The process of a device, through its incarnations. */
class Incarnations implements AsyncDisposable {
  readonly #opened: OpenedBlock;
  readonly #control: string;
  readonly #listener: number;
  #child: ChildProcess | undefined;
  link: ControlLink | undefined;

  constructor(opened: OpenedBlock) {
    this.#opened = opened;
    this.#control = join(folder, 'control.sock');
    this.#listener = listenUnix(this.#control, { type: 'seqpacket' });
  }

  /** Starts it, and returns a socket that it serves. */
  async start(): Promise<number> {
    const { argv, env } = deviceProcess('block0');
    const [file, ...args] = argv;
    this.#child = spawn(file, args, {
      stdio: ['ignore', 'ignore', 'inherit', this.#listener],
      env: { ...process.env, ...env },
    });
    const link = new ControlLink(connectUnix(this.#control, { type: 'seqpacket' }), {
      name: 'block0',
      handle: () => ({ value: null }),
    });
    this.link = link;
    const { options, fds } = this.#opened;
    await link.request('load', { id: 'block0', ...MODULE, options, names: Object.keys(fds) }, Object.values(fds));
    const [ours, theirs] = socketPair('stream');
    await link.request('connect', null, [theirs]);
    closeSync(theirs);
    return ours;
  }

  async kill(): Promise<void> {
    const child = this.#child as ChildProcess;
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    this.link?.[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    closeSync(this.#listener);
  }
}

/** Writes blocks that say where they are and which write it was, and knows what the disk must have. */
class Writer {
  readonly model = Buffer.alloc(DISK_BYTES);
  readonly #frontEnd: VhostUserFrontEnd;
  readonly #busy = new Set<number>();
  readonly #blockOf = new Map<number, number>();
  #count = 0;

  constructor(frontEnd: VhostUserFrontEnd) {
    this.#frontEnd = frontEnd;
  }

  get outstanding(): number {
    return this.#busy.size;
  }

  send(): void {
    const block = (this.#count * 37) % (DISK_BYTES / BLOCK);
    // Two writes of one block at once may end in either order.
    if (this.#busy.has(block)) return;
    const header = new Uint8Array(16);
    const view = new DataView(header.buffer);
    view.setUint32(0, 1, true);
    view.setUint32(8, (block * BLOCK) / 512, true);
    const data = new Uint8Array(BLOCK).fill(1 + (this.#count % 255));
    const token = this.#frontEnd.queue(0).add([header, data], [1]);
    if (token < 0) return;
    this.#count += 1;
    this.#busy.add(block);
    this.#blockOf.set(token, block);
    this.model.set(data, block * BLOCK);
  }

  take(completions: readonly Completion[]): void {
    for (const { token, data } of completions) {
      expect(data[0]).toBe(Status.ok);
      this.#busy.delete(this.#blockOf.get(token) as number);
    }
  }
}

test.each(['split', 'packed'])('killed in the middle of writes, it loses none of them (%s ring)', async (ring) => {
  using opened = openBlock({ path });
  await using device = new Incarnations(opened);
  const queues = [{ size: 128, eventIdx: true, packed: ring === 'packed' }];
  using frontEnd = await VhostUserFrontEnd.connect(await device.start(), { queues });
  const writer = new Writer(frontEnd);
  const queue = frontEnd.queue(0);
  for (let round = 0; round < 3; round++) {
    for (let batch = 0; batch < 5; batch++) {
      for (let i = 0; i < 30; i++) writer.send();
      queue.kick();
      await new Promise((resolve) => setTimeout(resolve, batch === 4 ? 0 : 2));
      writer.take(queue.used());
    }
    for (let i = 0; i < 30; i++) writer.send();
    queue.kick();
    await device.kill();
    await frontEnd.reconnect(await device.start());
    writer.take(await frontEnd.exchange(0, writer.outstanding));
  }
  expect(writer.outstanding).toBe(0);
  expect(Buffer.compare(readFileSync(path), writer.model)).toBe(0);
});

test('killed in the middle of long reads, which other threads carry out, it answers each of them', async () => {
  const READ = DISK_BYTES / 4;
  const content = Buffer.alloc(DISK_BYTES);
  for (let i = 0; i < DISK_BYTES; i += 4) content.writeUInt32LE(i, i);
  writeFileSync(path, content);
  using opened = openBlock({ path });
  await using device = new Incarnations(opened);
  const queues = [{ size: 128, eventIdx: true }];
  using frontEnd = await VhostUserFrontEnd.connect(await device.start(), { memory: 64 * DISK_BYTES, queues });
  const queue = frontEnd.queue(0);
  const quarterOf = new Map<number, number>();
  const take = (completions: readonly Completion[]): void => {
    for (const { token, data } of completions) {
      const quarter = quarterOf.get(token) as number;
      quarterOf.delete(token);
      expect(data.at(-1)).toBe(Status.ok);
      expect(Buffer.compare(data.subarray(0, -1), content.subarray(quarter * READ, (quarter + 1) * READ))).toBe(0);
    }
  };
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 32; i++) {
      const header = new Uint8Array(16);
      new DataView(header.buffer).setUint32(8, ((i % 4) * READ) / 512, true);
      quarterOf.set(queue.add([header], [READ, 1]), i % 4);
    }
    queue.kick();
    await new Promise((resolve) => setTimeout(resolve, round));
    await device.kill();
    await frontEnd.reconnect(await device.start());
    take(await frontEnd.exchange(0, quarterOf.size));
  }
  expect(quarterOf.size).toBe(0);
});

test('its code is replaced and its disk grows while it writes a qcow2 image', async () => {
  const image = join(folder, 'disk.qcow2');
  writeFileSync(image, '');
  using opened = (() => {
    const file = openSync(image, 'r+');
    createQcow2(imageFile(file, image), { size: DISK_BYTES });
    closeSync(file);
    return openBlock({ path: image });
  })();
  await using device = new Incarnations(opened);
  using frontEnd = await VhostUserFrontEnd.connect(await device.start(), { queues: [{ size: 128 }] });
  const writer = new Writer(frontEnd);
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 40; i++) writer.send();
    frontEnd.queue(0).kick();
    const reloaded = device.link?.request('reload', null);
    writer.take(await frontEnd.exchange(0, writer.outstanding));
    await reloaded;
  }
  const { value } =
    (await device.link?.request('request', { method: 'resize', params: { capacity: 2 * DISK_BYTES } })) ?? {};
  expect(value).toEqual({ capacity: 2 * DISK_BYTES });
  expect(new DataView((await frontEnd.readConfig(0, 8)).slice().buffer).getUint32(0, true)).toBe(
    (2 * DISK_BYTES) / 512,
  );
  await expect.poll(() => frontEnd.asked.map(({ name }) => name)).toContain('CONFIG_CHANGE_MSG');
  for (let at = 0; at < DISK_BYTES; at += 16 * BLOCK) {
    const header = new Uint8Array(16);
    new DataView(header.buffer).setUint32(8, at / 512, true);
    frontEnd.queue(0).add([header], [16 * BLOCK, 1]);
    const [completion] = await frontEnd.exchange(0, 1);
    const { data } = completion as Completion;
    expect(data.at(-1)).toBe(Status.ok);
    expect(Buffer.compare(data.subarray(0, -1), writer.model.subarray(at, at + 16 * BLOCK))).toBe(0);
  }
});
