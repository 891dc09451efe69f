import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRuntimeError } from '@runtime/core';
import { afterEach, expect, test } from 'vitest';
import { socketPair } from '../../linux/unix-socket.ts';
import { VhostUserBackend } from '../../virtio/vhost-user/back-end.ts';
import type { Virtqueue } from '../../virtio/virtqueue.ts';
import { CaptureWriter, parseCapture } from './capture.ts';
import { captureDriver, captureVirtqueue } from './capture-record.ts';
import { replayCapture } from './capture-replay.ts';
import type { DriverOptions } from './driver.ts';
import { VhostUserFrontEnd } from './front-end.ts';
import { EchoDevice } from './front-end-echo.ts';
import { seededRandom } from './front-end-hostile.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function connect(device: EchoDevice, queue: DriverOptions = { size: 16 }): Promise<VhostUserFrontEnd> {
  const [ours, theirs] = socketPair('stream');
  const backend = new VhostUserBackend(theirs, device, { log: { info: () => {}, warn: () => {} } });
  backend.start();
  const frontEnd = await VhostUserFrontEnd.connect(ours, { queues: [queue, queue] });
  cleanups.push(
    () => backend.close(),
    () => frontEnd[Symbol.dispose](),
  );
  return frontEnd;
}

function captureFile(): { path: string; fd: number } {
  const folder = mkdtempSync(join(tmpdir(), 'capture-'));
  const path = join(folder, 'queue.rtvq');
  const fd = openSync(path, 'w');
  cleanups.push(
    () => rmSync(folder, { recursive: true }),
    () => closeSync(fd),
  );
  return { path, fd };
}

/** Twelve requests on two queues, several of them at once. */
async function traffic(frontEnd: VhostUserFrontEnd): Promise<void> {
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 3; i++) {
      frontEnd.queue(round % 2).add([Uint8Array.of(round, i), new Uint8Array(100 * i + 1).fill(i)], [8, 300]);
    }
    await frontEnd.exchange(round % 2, 3);
  }
}

/** A later version that has learned to make a mistake. */
class WrongDevice extends EchoDevice {
  #count = 0;

  override serve(queue: Virtqueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      const bytes = new Uint8Array(Math.min(chain.readableBytes, chain.writableBytes));
      chain.read(bytes);
      this.#count += 1;
      if (this.#count === 5) bytes[1] = 77;
      queue.push(chain.head, chain.write(this.#count === 7 ? bytes.subarray(1) : bytes));
    }
    queue.flush();
    queue.enableNotifications();
  }
}

async function record(): Promise<Uint8Array> {
  const { path, fd } = captureFile();
  const frontEnd = await connect(new EchoDevice());
  using writer = new CaptureWriter(fd);
  const taps = frontEnd.queues.map((queue, index) => captureDriver(queue, index, writer));
  await traffic(frontEnd);
  for (const tap of taps) tap[Symbol.dispose]();
  await traffic(frontEnd);
  writer.flush();
  return new Uint8Array(readFileSync(path));
}

test('what a driver sends and gets is kept, and nothing after the end', async () => {
  const events = parseCapture(await record());
  expect(events).toHaveLength(24);
  expect(events.filter(({ kind }) => kind === 'available').map(({ queue }) => queue)).toEqual([
    0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1,
  ]);
  expect(events[1]).toMatchObject({
    kind: 'available',
    request: 1,
    readable: [Uint8Array.of(0, 1), new Uint8Array(101).fill(1)],
    writable: [8, 300],
  });
  expect(events.at(-1)).toMatchObject({ kind: 'used', request: 11, written: 203 });
});

test.each<DriverOptions>([{ size: 16 }, { size: 16, packed: true, eventIdx: true }, { size: 4 }])(
  'another version that does the same passes: %o',
  async (queue) => {
    const capture = await record();
    const report = await replayCapture(capture, await connect(new EchoDevice(), queue));
    expect(report).toEqual({ requests: 12, compared: 12, differences: [] });
  },
);

test('another version that does something else is found out', async () => {
  const capture = await record();
  const report = await replayCapture(capture, await connect(new WrongDevice()));
  expect(report.differences.map(({ request, what }) => [request, what])).toEqual([
    [4, 'data'],
    [6, 'written'],
  ]);
  expect(report.differences[0]?.actual).toContain('…1: 4d');
  const lengths = await replayCapture(capture, await connect(new WrongDevice()), { data: false });
  expect(lengths.differences.map(({ what }) => what)).toEqual(['written']);
});

test('a device that does not answer is told as such', async () => {
  const capture = await record();
  const device = new EchoDevice();
  device.hold = true;
  const report = await replayCapture(capture, await connect(device), { timeoutMs: 20 });
  expect(report.differences[0]).toMatchObject({ request: 0, what: 'missing' });
});

test('the side of the device can be recorded as well', async () => {
  const { path, fd } = captureFile();
  using writer = new CaptureWriter(fd, { keep: 2 });
  class Recorded extends EchoDevice {
    override serve(queue: Virtqueue): void {
      super.serve(captureVirtqueue(queue, writer));
    }
  }
  await traffic(await connect(new Recorded()));
  writer.flush();
  const capture = new Uint8Array(readFileSync(path));
  expect(parseCapture(capture).find(({ kind }) => kind === 'used')).toMatchObject({
    written: 3,
    data: Uint8Array.of(0, 0),
  });
  expect((await replayCapture(capture, await connect(new EchoDevice()))).differences).toEqual([]);
});

test('a damaged capture is refused, whatever the damage', async () => {
  const capture = await record();
  const random = seededRandom(7);
  let refused = 0;
  for (let round = 0; round < 2_000; round++) {
    const damaged = capture.slice(0, random(3) === 0 ? random(capture.length) : capture.length);
    for (let i = random(4); i >= 0 && damaged.length > 0; i--) damaged[random(damaged.length)] = random(256);
    try {
      parseCapture(damaged);
    } catch (e) {
      if (!isRuntimeError(e, 'SDK_ERR_CAPTURE')) throw e;
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(500);
  expect(() => parseCapture(new Uint8Array(3))).toThrow('it begins otherwise');
  expect(() => parseCapture(Uint8Array.of(...capture.subarray(0, 4), 2, 0, 0, 0))).toThrow('its version is 2');
});
